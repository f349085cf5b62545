//! Fetches one version of a file from its holders, verified before anybody sees it.

pub mod part;
