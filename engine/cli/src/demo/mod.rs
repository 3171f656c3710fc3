//! `orthant demo`: index something, measure it, answer questions.

mod answer;
mod ask;
mod builtin;
mod run;

pub(crate) use run::run;
