//! openraft's own conformance suite, on both devices.

use std::sync::Arc;

use openraft::StorageError as RaftStorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::raft::TypeConfig;
use crate::storage::shared::{SharedState, State};
use crate::storage::sim::SimDisk;
use crate::storage::snapshot::SnapshotFiles;
use crate::storage::{FatalSignal, LogStore, OpenOptions, StateMachine, Storage};

struct OnSled;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for OnSled {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), RaftStorageError<TypeConfig>> {
        let dir = TempDir::new().expect("a temporary directory");
        let options = OpenOptions { node_id: 0, new_store_id: 7 };
        let storage = Storage::open(dir.path(), &options).expect("a new data directory");
        Ok((dir, storage.log_store, storage.state_machine))
    }
}

struct OnSimulatedDisk;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for OnSimulatedDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), RaftStorageError<TypeConfig>> {
        let dir = TempDir::new().expect("a temporary directory");
        let fatal = FatalSignal::default();
        let files = Arc::new(SnapshotFiles::open(dir.path(), None).expect("a directory for snapshots"));
        let log = LogStore::on_device(SimDisk::default().open(), fatal.clone()).expect("an empty log");
        Ok((dir, log, StateMachine::new(SharedState::new(State::default()), files, fatal)))
    }
}

#[tokio::test]
async fn conforms_on_sled() {
    Suite::test_all(OnSled).await.expect("openraft's storage suite");
}

#[tokio::test]
async fn conforms_on_a_simulated_disk() {
    Suite::test_all(OnSimulatedDisk).await.expect("openraft's storage suite");
}
