//! Random histories: the planner that followed every event wants what a planner wants that starts from the state.

use proptest::prelude::*;

use super::*;

const PEERS: [&str; 4] = ["a", "b", "c", "d"];
const FILES: [&str; 5] = ["f", "g", "h", "i", "j"];

/// One step of a history; numbers choose from [`PEERS`] and [`FILES`].
#[derive(Debug, Clone)]
enum PlanStep {
    Register(usize, Vec<usize>),
    Announce(usize, usize, u8),
    Publish(usize, usize, u8),
    DeleteEverywhere(usize, usize),
    Delete(usize, usize),
    Expire(usize),
    Replicas(u32),
    /// The peer carries out its first task.
    Obey(usize),
    /// The peer reports its first task as failed.
    Fail(usize),
    Work(usize),
    Wait(u64),
    Plan,
    Grace(bool),
}

/// `files`: how many of [`FILES`] appear. With three, slots never run out.
fn any_step(files: usize) -> impl Strategy<Value = PlanStep> {
    let (peer, file, bytes) = (0..PEERS.len(), 0..files, 1..6_u8);
    prop_oneof![
        2 => (peer.clone(), prop::collection::vec(file.clone(), 0..4)).prop_map(|(p, f)| PlanStep::Register(p, f)),
        3 => (peer.clone(), file.clone(), 1..3_u8).prop_map(|(p, f, b)| PlanStep::Announce(p, f, b)),
        2 => (peer.clone(), file.clone(), bytes).prop_map(|(p, f, b)| PlanStep::Publish(p, f, b)),
        1 => (peer.clone(), file.clone()).prop_map(|(p, f)| PlanStep::DeleteEverywhere(p, f)),
        1 => (peer.clone(), file).prop_map(|(p, f)| PlanStep::Delete(p, f)),
        2 => peer.clone().prop_map(PlanStep::Expire),
        1 => (1..4_u32).prop_map(PlanStep::Replicas),
        4 => peer.clone().prop_map(PlanStep::Obey),
        1 => peer.clone().prop_map(PlanStep::Fail),
        1 => peer.prop_map(PlanStep::Work),
        1 => prop_oneof![Just(1_000), Just(400_000), Just(PAUSE_MS_MAX)].prop_map(PlanStep::Wait),
        4 => Just(PlanStep::Plan),
        1 => any::<bool>().prop_map(PlanStep::Grace),
    ]
}

fn run(world: &mut World, step: PlanStep) {
    match step {
        PlanStep::Register(p, files) => {
            let files: Vec<(&str, u8)> = files.into_iter().map(|f| (FILES[f], 1)).collect();
            world.register(PEERS[p], &files);
        }
        PlanStep::Announce(p, f, bytes) => world.announce(PEERS[p], FILES[f], bytes),
        PlanStep::Publish(p, f, bytes) => world.publish(PEERS[p], FILES[f], Some(bytes)),
        PlanStep::DeleteEverywhere(p, f) => world.publish(PEERS[p], FILES[f], None),
        PlanStep::Delete(p, f) => world.delete(PEERS[p], FILES[f]),
        PlanStep::Expire(p) => world.expire(PEERS[p]),
        PlanStep::Replicas(replicas) => {
            world.apply(Op::SetReplicas(SetReplicas { replicas }));
        }
        PlanStep::Obey(p) => obey(world, PEERS[p]),
        PlanStep::Fail(p) => {
            if let Some(id) = world.task_ids(PEERS[p]).first() {
                world.heartbeat(PEERS[p], &[], &[(id, "test")], Some(1_000_000));
            }
        }
        PlanStep::Work(p) => {
            let ids = world.task_ids(PEERS[p]);
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            world.heartbeat(PEERS[p], &ids, &[], None);
        }
        PlanStep::Wait(ms) => world.now_ms += ms,
        PlanStep::Plan => {
            world.plan();
        }
        PlanStep::Grace(grace) => world.grace = grace,
    }
}

/// Carries out the first task of a peer. False if it has none.
fn obey(world: &mut World, id: &str) {
    let Some(task) = world.planner.tasks_for(&world.catalog, &peer(id)).into_iter().next() else { return };
    match task.hash {
        Some(hash) => world.announce(id, task.file.as_str(), hash.0[0]),
        None => world.delete(id, task.file.as_str()),
    }
}

/// See [`wants`].
type Wants = (BTreeSet<(FileName, PeerId, bool)>, BTreeMap<FileName, usize>, PlannerStats);

/// What the planner wants: updates and removals by peer, replications by number, and the totals.
fn wants(world: &World) -> Wants {
    let (mut upkeep, mut copies) = (BTreeSet::new(), BTreeMap::new());
    for state in world.planner.files.values() {
        for no in state.tasks.values() {
            let task = world.planner.tasks.get(*no).expect("a listed task exists");
            let name = task.file.clone();
            match task.kind {
                TaskKind::Replicate => *copies.entry(name).or_default() += 1,
                TaskKind::Update | TaskKind::Remove => {
                    upkeep.insert((name, task.peer.clone(), task.kind == TaskKind::Update));
                }
            }
        }
    }
    (upkeep, copies, world.planner.stats())
}

/// What must hold after every plan.
fn check(world: &World) {
    for view in world.catalog.files() {
        let demand = demand::Demand::of(&view);
        let tasks: Vec<_> =
            world.planner.files.get(&view.name).into_iter().flat_map(|state| state.tasks.iter()).collect();
        let copies = tasks
            .iter()
            .filter(|(_, no)| world.planner.tasks.get(**no).is_some_and(|task| task.kind == TaskKind::Replicate));
        assert!(copies.count() <= demand.desired.saturating_sub(demand.live.len()), "{view:?} has too many tasks");
        for (peer, no) in tasks {
            let task = world.planner.tasks.get(*no).expect("a listed task exists");
            assert!(demand.admits(peer, task.kind, task.version), "{task:?} does not fit {view:?}");
        }
    }
    for (_, state) in world.planner.peers.iter() {
        assert!(state.given.len() <= TASKS_PER_PEER_MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn following_events_equals_starting_from_the_state(steps in prop::collection::vec(any_step(FILES.len()), 0..60)) {
        let mut world = World::new();
        PEERS.iter().for_each(|id| world.register(id, &[]));
        for step in steps {
            let planned = matches!(step, PlanStep::Plan);
            run(&mut world, step);
            if planned {
                check(&world);
            }
        }
        // Let pauses and tasks of the past run out, so that only the state decides.
        world.grace = false;
        for _ in 0..2 {
            world.now_ms += TASK_TIMEOUT_MS + 2 * PAUSE_MS_MAX;
            world.plan();
        }
        for _ in 0..100 {
            world.now_ms += 2 * PAUSE_MS_MAX;
            world.plan();
            PEERS.iter().for_each(|id| obey(&mut world, id));
        }
        world.plan();
        check(&world);
        let followed = wants(&world);
        world.fail_over(9);
        world.plan();
        check(&world);
        prop_assert_eq!(&followed, &wants(&world));
        prop_assert!(followed.0.is_empty() && followed.1.is_empty(), "obedient peers come to an end: {:?}", followed);
    }

    #[test]
    fn the_desired_set_is_the_same_at_any_moment(steps in prop::collection::vec(any_step(3), 0..40)) {
        let mut world = World::new();
        PEERS.iter().for_each(|id| world.register(id, &[]));
        for step in steps {
            // Pauses are soft state, and a grace period is the leader's: without them the sets must be equal.
            if !matches!(step, PlanStep::Fail(_) | PlanStep::Wait(_) | PlanStep::Grace(_)) {
                run(&mut world, step);
            }
        }
        world.plan();
        let followed = wants(&world);
        world.fail_over(9);
        world.plan();
        let rebuilt = wants(&world);
        prop_assert_eq!(followed.0, rebuilt.0);
        prop_assert_eq!(followed.1, rebuilt.1);
        prop_assert_eq!(followed.2, rebuilt.2);
    }
}
