//! The ledger is proved: random operations against the reference, crashes at every await, a crowd on one account, and the faults that
//! must be caught.

mod canaries;
mod crash;
mod crowd;
mod random;
