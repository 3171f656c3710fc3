//! The commands that work on files: one module each.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod convert;
pub(crate) mod db;
pub(crate) mod exact;
pub(crate) mod info;
pub(crate) mod search;
pub(crate) mod tune;
