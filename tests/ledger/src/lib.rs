//! The ledger against a reference. [`reference`] keeps the books with arithmetic of its own; [`world`] carries the same operations out by
//! the store's real code on a table in memory ([`kiln_dynamo`]); [`books`] reads what is stored, item by item, and holds it to the
//! invariants 1 to 3 of DESIGN.md; [`case`] is a sequence of operations, some at once, some cut off at an await, and its run.
//!
//! Promises: nothing here knows a rule of the production code's but by writing it down again; a case gives the same outcome whenever it
//! is run, so that what fails can be shrunk and repeated by its seed.

pub mod books;
pub mod case;
pub mod reference;
pub mod world;
