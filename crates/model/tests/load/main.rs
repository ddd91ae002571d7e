//! Loading: every container, family, tokenizer and the hub, against files made by the reference
//! implementations and files made wrong on purpose.

mod archives;
mod damage;
mod families;
mod fixtures;
mod hub;
mod hub_server;
mod pickles;
mod tokenizers;
mod writing;
