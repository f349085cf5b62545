//! Who leads.

use super::{Json, LeaderInfo, endpoint};

endpoint! {
    /// Who leads, from any node.
    ///
    /// 503 `no_quorum` while there is none that a majority confirmed a moment ago (R5).
    Leader = Get "/leader" as "leader", Local;
    answer: Json<LeaderInfo>, "The leader.";
    errors: NoQuorum;
}
