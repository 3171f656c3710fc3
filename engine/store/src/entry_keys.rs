//! Keys of the catalog's table `rows`: collection, tenant and the caller's key, so that they order.
//!
//! # Layout (numbers in keys are big endian: they order as bytes)
//! ```text
//! short   number + 2 in a byte below 240, or 240 + n and its n bytes: the collection, then the tenant;
//!         then n and the n bytes of a caller's number without leading zeros (n from 0 to 8), or 16 and the caller's text
//! wide    collection u32, tenant u32, then 0 and the caller's number as u64, or 1 and the text
//! ```
//! * **Y1** A catalog has keys of one form: short ones from format 2 on. No short key begins with 0 or 1 and, as there
//!   are no 2^24 collections, each wide one begins with 0: bytes tell their form.
//! * **Y2** Keys of one form order by collection, tenant, then numbers before texts; no collection's or tenant's prefix is the
//!   beginning of another's.
//!
//! Cost: a row numbered in the tens of thousands, of an early tenant, takes 6 bytes where a wide key takes 17.

use orthant_engine::Key;

/// Numbers from here on are written with their length. Below, two are left out (Y1).
const LONG: u8 = 240;
const SHIFT: u8 = 2;

/// In the place of a number's length: a text follows.
const TEXT: u8 = 16;

/// The keys of a collection's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryKeys {
    collection: u32,
    is_short: bool,
}

/// What an entry's key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) collection: u32,
    pub(crate) tenant: u32,
    is_short: bool,
    caller: &'a [u8],
}

impl EntryKeys {
    pub(crate) fn new(collection: u32, is_short: bool) -> Self {
        Self { collection, is_short }
    }

    fn number(self, bytes: &mut Vec<u8>, number: u32) {
        if !self.is_short {
            bytes.extend_from_slice(&number.to_be_bytes());
        } else if number < u32::from(LONG - SHIFT) {
            bytes.push(number as u8 + SHIFT);
        } else {
            let digits = digits(&number.to_be_bytes()).to_vec();
            bytes.push(LONG + digits.len() as u8);
            bytes.extend_from_slice(&digits);
        }
    }

    /// What the keys of all rows start with.
    pub(crate) fn all(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32);
        self.number(&mut bytes, self.collection);
        bytes
    }

    /// What the keys of a tenant's rows start with.
    pub(crate) fn tenant(self, tenant: u32) -> Vec<u8> {
        let mut bytes = self.all();
        self.number(&mut bytes, tenant);
        bytes
    }

    /// The key of a row.
    pub(crate) fn row(self, tenant: u32, key: &Key) -> Vec<u8> {
        let mut bytes = self.tenant(tenant);
        match key {
            Key::Int(_) | Key::Str(_) if !self.is_short => append_key(&mut bytes, key),
            Key::Int(number) => {
                let word = number.to_be_bytes();
                let digits = digits(&word);
                bytes.push(digits.len() as u8);
                bytes.extend_from_slice(digits);
            }
            Key::Str(text) => {
                bytes.push(TEXT);
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        bytes
    }
}

/// Big-endian bytes without leading zeros.
fn digits(word: &[u8]) -> &[u8] {
    let zeros = word.iter().take_while(|&&byte| byte == 0).count();
    &word[zeros..]
}

/// The number of so few big-endian bytes; `None` if it has leading zeros.
fn number_of(digits: &[u8]) -> Option<u64> {
    let is_canonical = digits.len() <= 8 && digits.first() != Some(&0);
    is_canonical.then(|| digits.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// A caller's key by itself: numbers first, then texts.
pub(crate) fn append_key(bytes: &mut Vec<u8>, key: &Key) {
    match key {
        Key::Int(number) => {
            bytes.push(0);
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        Key::Str(text) => {
            bytes.push(1);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
}

/// Whether an entry's key is a short one (Y1).
pub(crate) fn is_short(entry: &[u8]) -> bool {
    entry.first().is_some_and(|&byte| byte >= SHIFT)
}

/// Reads what [`EntryKeys::row`] made; `None` for other bytes.
pub(crate) fn parts(entry: &[u8]) -> Option<Parts<'_>> {
    if !is_short(entry) {
        let (numbers, caller) = entry.split_at_checked(8)?;
        let number = |at: usize| numbers[at..at + 4].try_into().ok().map(u32::from_be_bytes);
        return Some(Parts { collection: number(0)?, tenant: number(4)?, is_short: false, caller });
    }
    let mut rest = entry;
    let mut number = || {
        let (&first, more) = rest.split_first()?;
        if (SHIFT..LONG).contains(&first) {
            rest = more;
            return Some(u32::from(first - SHIFT));
        }
        let (digits, more) = more.split_at_checked(usize::from(first.checked_sub(LONG)?))?;
        rest = more;
        u32::try_from(number_of(digits)?).ok().filter(|&number| number >= u32::from(LONG - SHIFT))
    };
    let (collection, tenant) = (number()?, number()?);
    Some(Parts { collection, tenant, is_short: true, caller: rest })
}

impl Parts<'_> {
    /// The caller's key.
    pub(crate) fn key(&self) -> Option<Key> {
        let text = |bytes: &[u8]| Some(Key::Str(std::str::from_utf8(bytes).ok()?.into()));
        match self.caller.split_first()? {
            (&length, digits) if self.is_short && usize::from(length) == digits.len() && length <= 8 => {
                number_of(digits).map(Key::Int)
            }
            (&TEXT, rest) if self.is_short => text(rest),
            (0, rest) if !self.is_short => Some(Key::Int(u64::from_be_bytes(rest.try_into().ok()?))),
            (1, rest) if !self.is_short => text(rest),
            _ => None,
        }
    }
}

/// The caller's key in an entry's key.
pub(crate) fn caller_key(entry: &[u8]) -> Option<Key> {
    parts(entry)?.key()
}

/// The first key behind all that start with `prefix`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 255 {
            end.push(last + 1);
            return end;
        }
    }
    // Nothing lies behind: one longer than the prefix, of the largest byte, is behind all keys there are.
    vec![255; prefix.len() + 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: [u32; 9] = [0, 1, 237, 238, 239, 255, 256, 65_536, u32::MAX];

    fn callers() -> Vec<Key> {
        let numbers = [0, 1, 255, 256, 65_535, 65_536, u64::MAX - 1, u64::MAX];
        let texts = ["", "\0", "a", "b", "ü"];
        numbers.into_iter().map(Key::Int).chain(texts.into_iter().map(Key::from)).collect()
    }

    #[test]
    fn entries_order_and_come_back() {
        for is_short in [false, true] {
            let mut entries = Vec::new();
            for &collection in NUMBERS.iter().filter(|&&number| is_short || number < 1 << 24) {
                let keys = EntryKeys::new(collection, is_short);
                for tenant in NUMBERS {
                    for key in callers() {
                        let entry = keys.row(tenant, &key);
                        let parts = parts(&entry).unwrap();
                        assert_eq!((parts.collection, parts.tenant), (collection, tenant));
                        assert_eq!((parts.key(), super::is_short(&entry)), (Some(key), is_short));
                        let prefix = keys.tenant(tenant);
                        assert!(entry.starts_with(&prefix) && prefix.starts_with(&keys.all()));
                        assert!(entry < prefix_end(&prefix));
                        entries.push(entry);
                    }
                }
            }
            assert!(entries.is_sorted());
            assert!(entries.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }

    #[test]
    fn no_prefix_begins_another() {
        for a in NUMBERS {
            for b in NUMBERS.into_iter().filter(|&b| b != a) {
                let all = |number| EntryKeys::new(number, true).all();
                assert!(!all(a).starts_with(&all(b)), "{a} {b}");
            }
        }
    }

    #[test]
    fn a_row_of_an_early_tenant_takes_few_bytes() {
        assert_eq!(EntryKeys::new(0, true).row(0, &99_999.into()), [2, 2, 3, 1, 0x86, 0x9f]);
        assert_eq!(EntryKeys::new(1, true).row(300, &"k".into()), [3, 242, 1, 44, 16, b'k']);
        assert_eq!(
            EntryKeys::new(1, false).row(2, &0x0304.into()),
            [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 4]
        );
    }

    #[test]
    fn other_bytes_are_no_entries() {
        for bad in
            [&[][..], &[2], &[2, 2], &[2, 241], &[2, 241, 5], &[250, 1], &[0, 0, 0, 1], &[2, 242, 0, 9]]
        {
            assert_eq!(caller_key(bad), None, "{bad:?}");
        }
        for bad in [&[2, 2, 2, 1][..], &[2, 2, 2, 0, 1], &[2, 2, 9], &[2, 2, 16, 255], &[2, 2, 1]] {
            assert!(parts(bad).is_some());
            assert_eq!(caller_key(bad), None, "{bad:?}");
        }
        assert_eq!(prefix_end(&[1, 255, 255]), [2]);
        assert_eq!(prefix_end(&[255]), [255, 255]);
    }
}
