//! Text in, vectors out: finding files, cutting them into passages, embedding passages.

pub(crate) mod corpus;
pub(crate) mod embed;
pub(crate) mod passage;
pub(crate) mod words;
