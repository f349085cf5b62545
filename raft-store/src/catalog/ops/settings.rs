//! Replicated settings, and the operations that set them (M1).
//!
//! Invariant: settings are part of the replicated state, stored in the order of the fields of [`Settings`]. Every
//! change has an event, and setting the same value again has none. A new setting is a field here, its operation and its
//! event; like every change of the state it needs a new snapshot format (see `codec`).

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::catalog::{Catalog, CommandId, Event, Rejection, Reply};
use crate::types::limits;

/// The replicated settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Settings {
    /// The default number of live copies (M1).
    pub(in crate::catalog) replicas: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { replicas: limits::REPLICAS_DEFAULT }
    }
}

/// Sets the default number of live copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetReplicas {
    /// At least 1.
    pub replicas: u32,
}

impl Operation for SetReplicas {
    fn apply(&self, catalog: &mut Catalog, _: CommandId) -> Result<Reply, Rejection> {
        let replicas = self.replicas.max(1);
        if std::mem::replace(&mut catalog.settings.replicas, replicas) != replicas {
            catalog.emit(Event::ReplicasSet { replicas });
        }
        Ok(Reply::Done)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::catalog::tests::exercise::*;

    /// `replicas 3`
    impl Exercised for SetReplicas {
        const WORDS: &[&str] = &["replicas"];

        fn read(arguments: &mut Arguments<'_>) -> Parsed<Self> {
            Ok(SetReplicas { replicas: arguments.next()?.parse()? })
        }

        fn any() -> (u32, BoxedStrategy<Self>) {
            (1, (0..4u32).prop_map(|replicas| SetReplicas { replicas }).boxed())
        }

        fn samples() -> Vec<Self> {
            vec![SetReplicas { replicas: 3 }]
        }
    }
}
