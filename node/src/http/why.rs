//! `GET /why`: why a file has the copies it has.

use client::contract::{Why, WhyResponse};
use raft_store::types::FileName;

use super::consistency::Source;
use super::error::ApiError;
use super::file::existing;
use super::handle::{Call, Handle, Sent};
use super::reply::Reply;
use super::stats::planned_from;

impl Handle for Why {
    type Checked = FileName;
    const SOURCE: Source = Source::Planner;

    fn check(sent: Sent<'_, Self>) -> Result<FileName, ApiError> {
        Ok(sent.query.file)
    }

    async fn answer(call: &Call, wanted: FileName) -> Result<Reply<WhyResponse>, ApiError> {
        let node = &call.node;
        let derived = planned_from(node);
        let catalog = node.catalog();
        if existing(&catalog, &wanted)?.is_record() {
            return Err(ApiError::NotFound(format!("{wanted} is a record: it has attributes and no version to copy")));
        }
        // Only the leader plans. A follower's stale answer has the holders and says that it knows of no tasks.
        match node.leadership.why(&catalog, &wanted, node.leads_confirmed()) {
            Some(why) => Ok(Reply::Derived(why, derived)),
            None => Err(ApiError::NotFound(format!("no file named {wanted}"))),
        }
    }
}
