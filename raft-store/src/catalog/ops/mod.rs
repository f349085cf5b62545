//! The operations of the catalog.

mod register;
