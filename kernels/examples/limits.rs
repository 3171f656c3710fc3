//! Prints what the CPU can do at most per step of a sum, in straight-line assembly: no call, no tail, no sum across a
//! register, nothing but loads from the first-level cache and arithmetic. Against it the figures of the README are to
//! be read. Pin it: `taskset -c 0 cargo run --release --example limits`.

fn main() {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        x86::print();
        return;
    }
    println!("written for AVX-512 only");
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::time::Instant;

    /// Both vectors of a sum, 4 KiB apart, on a boundary of lines.
    #[repr(align(64))]
    struct Vectors([f32; 4096]);

    /// Nanoseconds per step, the best of many runs.
    fn best(mut run: impl FnMut(), steps: usize) -> f64 {
        let mut best = f64::INFINITY;
        for _ in 0..500 {
            let start = Instant::now();
            for _ in 0..100 {
                run();
            }
            best = best.min(start.elapsed().as_nanos() as f64 / (100 * steps) as f64);
        }
        best
    }

    /// Eight steps in eight chains; `$step!` writes one from a register's kind, a chain, a scratch register and two
    /// offsets.
    macro_rules! eight {
        ($step:ident, $kind:literal, $bytes:literal) => {
            concat!(
                $step!($kind, "0", "8", concat!("0*", $bytes)),
                $step!($kind, "1", "9", concat!("1*", $bytes)),
                $step!($kind, "2", "10", concat!("2*", $bytes)),
                $step!($kind, "3", "11", concat!("3*", $bytes)),
                $step!($kind, "4", "12", concat!("4*", $bytes)),
                $step!($kind, "5", "13", concat!("5*", $bytes)),
                $step!($kind, "6", "14", concat!("6*", $bytes)),
                $step!($kind, "7", "8", concat!("7*", $bytes)),
            )
        };
    }
    macro_rules! l2_pair {
        ($r:literal, $sum:literal, $t:literal, $at:expr) => {
            concat!(
                "vmovups ",
                $r,
                $t,
                ", [{p} + ",
                $at,
                "]\n",
                "vsubps ",
                $r,
                $t,
                ", ",
                $r,
                $t,
                ", [{p} + 4608 + ",
                $at,
                "]\n",
                "vfmadd231ps ",
                $r,
                $sum,
                ", ",
                $r,
                $t,
                ", ",
                $r,
                $t,
                "\n"
            )
        };
    }
    macro_rules! l2_rows {
        ($r:literal, $sum:literal, $t:literal, $at:expr) => {
            concat!(
                "vsubps ",
                $r,
                $t,
                ", ",
                $r,
                "15, [{p} + ",
                $at,
                "]\n",
                "vfmadd231ps ",
                $r,
                $sum,
                ", ",
                $r,
                $t,
                ", ",
                $r,
                $t,
                "\n"
            )
        };
    }
    macro_rules! l2_none {
        ($r:literal, $sum:literal, $t:literal, $at:expr) => {
            concat!(
                "vsubps ",
                $r,
                $t,
                ", ",
                $r,
                "15, ",
                $r,
                "15\n",
                "vfmadd231ps ",
                $r,
                $sum,
                ", ",
                $r,
                $t,
                ", ",
                $r,
                $t,
                "\n"
            )
        };
    }
    macro_rules! ip_pair {
        ($r:literal, $sum:literal, $t:literal, $at:expr) => {
            concat!(
                "vmovups ",
                $r,
                $t,
                ", [{p} + ",
                $at,
                "]\n",
                "vfmadd231ps ",
                $r,
                $sum,
                ", ",
                $r,
                $t,
                ", [{p} + 4608 + ",
                $at,
                "]\n"
            )
        };
    }
    macro_rules! ip_rows {
        ($r:literal, $sum:literal, $t:literal, $at:expr) => {
            concat!("vfmadd231ps ", $r, $sum, ", ", $r, "15, [{p} + ", $at, "]\n")
        };
    }
    macro_rules! ip_none {
        ($r:literal, $sum:literal, $t:literal, $at:expr) => {
            concat!("vfmadd231ps ", $r, $sum, ", ", $r, "15, ", $r, "15\n")
        };
    }

    /// Nanoseconds per step of `$body`.
    macro_rules! time {
        ($vectors:ident, $body:expr) => {
            best(
                || {
                    // SAFETY: every load lies within the 16 KiB of the vectors; the registers written are named; the
                    // CPU has AVX-512 F (asked by `main`).
                    unsafe {
                        asm!(
                            "2: /* {p} */",
                            $body,
                            "dec {count}",
                            "jnz 2b",
                            count = inout(reg) 48u64 => _,
                            p = in(reg) $vectors.0.as_ptr(),
                            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                            out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                            out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
                            options(nostack, readonly)
                        );
                    }
                },
                48 * 8,
            )
        };
    }

    pub(crate) fn print() {
        let vectors = Box::new(Vectors([1.0; 4096]));
        println!("ns per 16 f32                    AVX-512    AVX2    ratio");
        macro_rules! both {
            ($title:literal, $step:ident) => {
                let wide = time!(vectors, eight!($step, "zmm", "64"));
                // A register of half the elements: two steps.
                let narrow = 2.0 * time!(vectors, eight!($step, "ymm", "32"));
                println!("{:<32} {wide:6.3}  {narrow:6.3}   {:6.2}", $title, narrow / wide);
            };
        }
        both!("l2, both sides loaded", l2_pair);
        both!("l2, one side loaded", l2_rows);
        both!("l2, nothing loaded", l2_none);
        both!("ip, both sides loaded", ip_pair);
        both!("ip, one side loaded", ip_rows);
        both!("ip, nothing loaded", ip_none);
    }
}
