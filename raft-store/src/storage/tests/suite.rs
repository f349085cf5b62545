//! openraft's own conformance suite, on both devices.

use openraft::StorageError as RaftStorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::raft::TypeConfig;
use crate::storage::{LogStore, OpenOptions, SimDisk, StateMachine, Storage};

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

impl StoreBuilder<TypeConfig, LogStore, StateMachine, ()> for OnSimulatedDisk {
    async fn build(&self) -> Result<((), LogStore, StateMachine), RaftStorageError<TypeConfig>> {
        let options = OpenOptions { node_id: 0, new_store_id: 7 };
        let storage = Storage::open_simulated(&SimDisk::default(), &options).expect("an empty disk");
        Ok(((), storage.log_store, storage.state_machine))
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
