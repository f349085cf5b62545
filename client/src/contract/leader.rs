//! `GET /leader`: which node leads.

use super::{Json, LeaderInfo, endpoint};

endpoint! {
    /// Ask any node which node leads.
    ///
    /// 503 `no_quorum` if the asked node knows no leader that a majority confirmed recently (R5).
    Leader = Get "/leader" as "leader", Local;
    answer: Json<LeaderInfo>, "The leader.";
    errors: NoQuorum;
}
