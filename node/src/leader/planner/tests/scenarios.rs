//! Scenarios, one claim each.

use super::*;

const NONE: [&str; 0] = [];

#[test]
fn a_new_file_gets_its_second_copy_at_once() {
    let mut world = World::new();
    world.register("a", &[]);
    world.register("b", &[]);
    assert_eq!(world.plan(), NONE);
    world.announce("a", "f", 1);
    assert_eq!(world.plan(), ["b"]);
    let tasks = world.planner.tasks_for(&world.catalog, &peer("b"));
    assert_eq!(tasks.len(), 1);
    assert_eq!((tasks[0].kind, tasks[0].version, tasks[0].size), (TaskKind::Replicate, 1, 1_000));
    assert_eq!((tasks[0].hash, tasks[0].fencing_token), (Some(ContentHash([1; 32])), 0));
    assert_eq!((tasks[0].source.as_str(), tasks[0].sources.as_slice()), ("http://a", &["http://a".to_owned()][..]));
    assert_eq!(world.planner.stats(), PlannerStats { under_replicated: 1, tasks: 1 });
    world.announce("b", "f", 1);
    assert_eq!(world.tasks("b"), NONE, "a task that is done is not sent again, even before the next plan");
    assert_eq!(world.plan(), NONE);
    assert_eq!(world.planner.stats(), PlannerStats::default());
    assert!(world.planner.files.values().next().is_none(), "a file that needs nothing costs nothing");
}

#[test]
fn what_cannot_be_placed_becomes_a_task_when_a_peer_appears() {
    let mut world = World::new();
    world.register("a", &[("f", 1), ("g", 1)]);
    assert_eq!(world.plan(), NONE);
    assert_eq!(world.planner.stats(), PlannerStats { under_replicated: 2, tasks: 0 });
    world.register("b", &[]);
    assert_eq!(world.plan(), ["b"]);
    assert_eq!(world.tasks("b"), ["REPLICATE f v1", "REPLICATE g v1"]);
}

#[test]
fn a_peer_has_four_tasks_at_most_and_the_rest_follows() {
    let mut world = World::new();
    world.register("a", &[("1", 1), ("2", 1), ("3", 1), ("4", 1), ("5", 1), ("6", 1)]);
    world.register("b", &[]);
    world.plan();
    assert_eq!(world.tasks("b"), ["REPLICATE 1 v1", "REPLICATE 2 v1", "REPLICATE 3 v1", "REPLICATE 4 v1"]);
    assert_eq!(world.reasons("5"), ["b: busy: it has 4 tasks under way"]);
    world.announce("b", "2", 1);
    assert_eq!(world.plan(), ["b"]);
    assert_eq!(world.tasks("b"), ["REPLICATE 1 v1", "REPLICATE 3 v1", "REPLICATE 4 v1", "REPLICATE 5 v1"]);
}

#[test]
fn the_most_endangered_files_come_first() {
    let mut world = World::new();
    world.apply(Op::SetReplicas(SetReplicas { replicas: 3 }));
    world.register("a", &[("1", 1), ("2", 1), ("3", 1), ("4", 1), ("lone", 1)]);
    world.register("b", &[("1", 1), ("2", 1), ("3", 1), ("4", 1)]);
    world.register("c", &[]);
    world.plan();
    assert_eq!(world.tasks("c")[0], "REPLICATE lone v1");
    assert_eq!(world.tasks("b"), ["REPLICATE lone v1"]);
}

#[test]
fn a_failover_causes_no_storm() {
    let mut world = World::new();
    for id in ["a", "b", "c"] {
        world.register(id, &[("1", 1), ("2", 1), ("3", 1)]);
    }
    world.apply(Op::SetReplicas(SetReplicas { replicas: 3 }));
    world.register("d", &[]);
    world.expire("c");
    world.fail_over(2);
    world.grace = true;
    assert_eq!(world.plan(), NONE, "no replication in the grace period");
    assert_eq!(world.planner.stats(), PlannerStats { under_replicated: 3, tasks: 0 });
    assert!(world.reasons("1")[0].starts_with("d: a new leader"));
    world.register("c", &[("1", 1), ("2", 1), ("3", 1)]);
    world.grace = false;
    assert_eq!(world.plan(), NONE, "the peer that reported in time leaves nothing to do");
    assert_eq!(world.planner.stats(), PlannerStats::default());
}

#[test]
fn what_is_missing_after_the_grace_period_is_planned() {
    let mut world = World::new();
    world.register("a", &[("f", 1)]);
    world.register("b", &[]);
    world.fail_over(2);
    world.grace = true;
    assert_eq!(world.plan(), NONE);
    world.grace = false;
    assert_eq!(world.plan(), ["b"]);
}

#[test]
fn stale_copies_are_updated_and_deleted_ones_removed_even_in_the_grace_period() {
    let mut world = World::new();
    world.grace = true;
    world.register("a", &[("f", 1), ("g", 1)]);
    world.register("b", &[("f", 1), ("g", 1)]);
    world.publish("a", "f", Some(2));
    world.publish("a", "g", None);
    assert_eq!(world.plan(), ["a", "b"]);
    assert_eq!(world.tasks("b"), ["UPDATE f v2", "REMOVE g v2"]);
    assert_eq!(world.tasks("a"), ["REMOVE g v2"]);
    let remove = &world.planner.tasks_for(&world.catalog, &peer("a"))[0];
    assert_eq!((remove.hash, remove.size, remove.source.as_str(), remove.sources.len()), (None, 0, "", 0));
    assert_eq!(remove.fencing_token, 2);
}

#[test]
fn an_update_under_way_counts_so_that_strangers_get_no_copy() {
    let mut world = World::new();
    world.register("a", &[("f", 1)]);
    world.register("b", &[("f", 1)]);
    world.register("c", &[]);
    world.publish("a", "f", Some(2));
    assert_eq!(world.plan(), ["b"]);
    assert_eq!(world.tasks("c"), NONE);
    let id = world.task_ids("b").remove(0);
    world.heartbeat("b", &[], &[(&id, "disk_full")], None);
    assert_eq!(world.plan(), ["c"], "a failed update no longer counts");
    assert_eq!(world.tasks("c"), ["REPLICATE f v2"]);
}

#[test]
fn a_copy_that_returns_cancels_what_is_above_the_rule() {
    let mut world = World::new();
    world.register("a", &[("f", 1)]);
    world.register("b", &[("f", 1)]);
    world.register("c", &[]);
    world.plan();
    for _ in 0..3 {
        world.expire("b");
        assert_eq!(world.plan(), ["c"]);
        assert_eq!(world.tasks("c"), ["REPLICATE f v1"]);
        world.register("b", &[("f", 1)]); // flapping: the peer is back before the copy is made
        assert_eq!(world.plan(), NONE);
        assert_eq!(world.tasks("c"), NONE);
        assert_eq!(world.planner.stats(), PlannerStats::default());
    }
}

#[test]
fn copies_above_the_rule_are_kept() {
    let mut world = World::new();
    for id in ["a", "b", "c"] {
        world.register(id, &[("f", 1)]);
    }
    assert_eq!(world.plan(), NONE);
    assert_eq!(world.planner.stats(), PlannerStats::default());
}

#[test]
fn a_peer_that_deleted_its_copy_does_not_get_it_back_unasked() {
    let mut world = World::new();
    world.register("a", &[("f", 1)]);
    world.register("b", &[("f", 1)]);
    world.delete("b", "f");
    assert_eq!(world.plan(), NONE);
    assert_eq!(world.tasks("b"), NONE);
    assert_eq!(world.planner.stats().under_replicated, 1);
    assert!(world.reasons("f")[0].starts_with("b: its user deleted"));
    world.fail_over(2);
    assert_eq!(world.plan(), NONE, "the refusal outlives the leader");
    world.register("c", &[]);
    assert_eq!(world.plan(), ["c"]);
}

#[test]
fn copies_spread_over_zones_before_room_and_room_before_id() {
    let mut world = World::new();
    world.grace = true;
    world.register_in("a", Some("east"), &[("f", 1)]);
    world.register_in("b", Some("east"), &[]);
    world.register_in("c", Some("west"), &[]);
    world.register_in("d", Some("west"), &[]);
    world.plan();
    world.heartbeat("b", &[], &[], Some(1_000_000));
    world.heartbeat("c", &[], &[], Some(5_000));
    world.heartbeat("d", &[], &[], Some(50_000));
    world.grace = false;
    assert_eq!(world.plan(), ["d"]);
    world.apply(Op::SetReplicas(SetReplicas { replicas: 3 }));
    assert_eq!(world.plan(), ["b"], "the third copy goes where a zone has but one");
}

#[test]
fn a_full_peer_gets_nothing_until_it_has_room() {
    let mut world = World::new();
    world.register("b", &[]);
    world.heartbeat("b", &[], &[], Some(999));
    world.register("a", &[("f", 1)]);
    assert_eq!(world.plan(), NONE);
    assert_eq!(world.reasons("f"), ["b: no room: the file has 1000 bytes, the peer takes 999 more"]);
    world.now_ms += ROOM_RETRY_MS;
    world.heartbeat("b", &[], &[], Some(2_500));
    assert_eq!(world.plan(), ["b"]);
    world.announce("a", "g", 1);
    world.announce("a", "h", 1);
    world.plan();
    assert_eq!(world.tasks("b"), ["REPLICATE f v1", "REPLICATE g v1"], "what is on its way takes room");
}

#[test]
fn a_failed_task_backs_off_and_goes_to_someone_else() {
    let mut world = World::new();
    world.register("a", &[("f", 1)]);
    world.register("b", &[]);
    world.plan();
    let id = world.task_ids("b").remove(0);
    world.heartbeat("b", &[], &[(&id, "unreachable"), ("t9-9-unknown", "x")], None);
    assert_eq!(world.plan(), NONE);
    assert_eq!(world.reasons("f"), ["b: it failed (unreachable) and rests for 1 s"]);
    world.now_ms += PAUSE_MS_MIN;
    assert_eq!(world.plan(), ["b"], "after its pause the only peer is asked again");
    assert_ne!(world.task_ids("b"), [id]);
    let id = world.task_ids("b").remove(0);
    world.register("c", &[]);
    world.heartbeat("b", &[], &[(&id, "unreachable")], None);
    assert_eq!(world.plan(), ["c"]);
    assert_eq!(world.tasks("b"), NONE);
}

#[test]
fn nobody_can_fail_the_task_of_another() {
    let mut world = World::new();
    world.register("a", &[("f", 1)]);
    world.register("b", &[]);
    world.plan();
    let id = world.task_ids("b").remove(0);
    world.heartbeat("a", &[&id], &[(&id, "x")], None);
    world.plan();
    assert_eq!(world.task_ids("b"), [id]);
}

#[test]
fn an_overdue_task_goes_to_someone_else() {
    let mut world = World::new();
    world.register("a", &[("f", 1)]);
    world.register("b", &[]);
    world.plan();
    world.register("c", &[]);
    let id = world.task_ids("b").remove(0);
    world.now_ms += TASK_TIMEOUT_MS - 1;
    world.heartbeat("b", &[&id], &[], None);
    assert_eq!(world.plan(), NONE);
    world.now_ms += 1;
    assert_eq!(world.plan(), ["c"]);
    assert_eq!(world.planner.stats().tasks, 1);
}

#[test]
fn a_task_is_repeated_until_the_peer_works_on_it_and_again_if_it_stops() {
    let mut world = World::new();
    world.register("a", &[("f", 1)]);
    world.register("b", &[]);
    world.plan();
    let id = world.task_ids("b").remove(0);
    assert_eq!(world.task_ids("b"), std::slice::from_ref(&id));
    world.heartbeat("b", &[&id], &[], None);
    assert_eq!(world.tasks("b"), NONE);
    world.heartbeat("b", &[], &[], None);
    assert_eq!(world.task_ids("b"), std::slice::from_ref(&id));
    world.heartbeat("b", &[&id], &[], None);
    world.register("b", &[]);
    assert_eq!(world.plan(), NONE);
    assert_eq!(world.task_ids("b"), [id], "a new process is told again");
}

#[test]
fn a_new_leader_counts_what_is_under_way() {
    let mut world = World::new();
    world.register("a", &[("f", 1), ("g", 1)]);
    world.register("z", &[("g", 1)]);
    world.plan();
    world.publish("a", "g", Some(2));
    world.plan();
    let mut ids = world.task_ids("z");
    assert_eq!(world.tasks("z"), ["REPLICATE f v1", "UPDATE g v2"]);
    world.register("b", &[]);
    world.fail_over(2);
    world.grace = true;
    world.plan();
    world.heartbeat("z", &[&ids[0], &ids[1], "nonsense", "t1-1-c1-0000000000000000"], &[], None);
    world.grace = false;
    assert_eq!(world.plan(), NONE, "b is not asked for what z does already");
    assert_eq!(world.tasks("z"), NONE, "z is not asked twice");
    assert_eq!(world.planner.stats().tasks, 2);
    let why = world.planner.why(&world.catalog, &file("f"), world.now_ms, false).expect("the file exists");
    assert_eq!(why.tasks.expect("the leader plans")[0].id, ids.remove(0));
    assert_eq!((why.rule.desired, why.rule.live, why.rule.under_way), (2, 1, Some(1)));
}

#[test]
fn a_new_version_replaces_the_tasks_of_the_old_one() {
    let mut world = World::new();
    world.register("a", &[("f", 1)]);
    world.register("b", &[]);
    world.plan();
    let old = world.task_ids("b");
    world.publish("a", "f", Some(2));
    assert_eq!(world.tasks("b"), NONE, "the old task no longer fits");
    assert_eq!(world.plan(), ["b"]);
    assert_eq!(world.tasks("b"), ["REPLICATE f v2"]);
    assert_ne!(world.task_ids("b"), old);
}

#[test]
fn without_a_live_source_there_is_no_task_but_it_counts() {
    let mut world = World::new();
    world.register("a", &[("f", 1)]);
    world.register("b", &[("f", 1)]);
    world.publish("a", "f", Some(2));
    world.register("c", &[]);
    world.expire("a");
    assert_eq!(world.plan(), NONE);
    assert_eq!((world.tasks("b"), world.tasks("c")), (vec![], vec![]));
    assert_eq!(world.planner.stats(), PlannerStats { under_replicated: 1, tasks: 0 });
    let why = world.planner.why(&world.catalog, &file("f"), world.now_ms, false).expect("the file exists");
    assert!(why.rule.summary.starts_with("no live peer"), "{}", why.rule.summary);
    world.register("a", &[("f", 2)]);
    assert_eq!(world.plan(), ["b"]);
    assert_eq!(world.tasks("b"), ["UPDATE f v2"]);
}

#[test]
fn many_stale_copies_wait_for_slots_and_leave_one_for_new_copies() {
    let mut world = World::new();
    let files = [("1", 1), ("2", 1), ("3", 1), ("4", 1), ("5", 1)];
    world.register("a", &files);
    world.register("b", &files);
    files.iter().for_each(|(name, _)| world.publish("a", name, Some(2)));
    world.plan();
    assert_eq!(world.tasks("b"), ["UPDATE 1 v2", "UPDATE 2 v2", "UPDATE 3 v2"]);
    world.announce("a", "new", 1);
    world.plan();
    assert_eq!(world.tasks("b")[3], "REPLICATE new v1");
    for name in ["1", "2", "3", "new"] {
        world.announce("b", name, if name == "new" { 1 } else { 2 });
    }
    assert_eq!(world.plan(), ["b"]);
    assert_eq!(world.tasks("b"), ["UPDATE 4 v2", "UPDATE 5 v2"]);
}

#[test]
fn the_tasks_of_a_peer_that_expires_go_to_others() {
    let mut world = World::new();
    world.register("a", &[("f", 1)]);
    world.register("b", &[]);
    world.plan();
    world.register("c", &[]);
    world.expire("b");
    assert_eq!(world.plan(), ["c"]);
    assert_eq!(world.tasks("b"), NONE);
    assert_eq!(world.planner.stats().tasks, 1);
}

#[test]
fn sources_name_every_live_holder() {
    let mut world = World::new();
    world.apply(Op::SetReplicas(SetReplicas { replicas: 3 }));
    world.register("a", &[("f", 1), ("g", 1)]);
    world.register("b", &[("f", 1), ("g", 1)]);
    world.register("c", &[]);
    world.plan();
    let tasks = world.planner.tasks_for(&world.catalog, &peer("c"));
    for task in &tasks {
        assert_eq!(task.source, task.sources[0]);
        assert_eq!(task.sources.iter().collect::<BTreeSet<_>>().len(), 2);
    }
    assert_ne!(tasks[0].source, tasks[1].source, "the load is spread");
}

#[test]
fn one_call_is_bounded_and_the_rest_is_kept() {
    let mut world = World::new();
    let names: Vec<String> = (0..PLAN_FILES_MAX + 10).map(|n| format!("f{n:05}")).collect();
    for name in &names {
        if world.catalog.peer(&peer("a")).is_none() {
            world.register("a", &[]);
        }
        world.announce("a", name, 1);
    }
    world.planner.plan(&world.catalog, 0, false);
    assert!(world.planner.has_more(false));
    assert_eq!(world.planner.stats().under_replicated, PLAN_FILES_MAX as u64);
    world.plan();
    assert_eq!(world.planner.stats().under_replicated, names.len() as u64);
    world.fail_over(2);
    world.plan();
    assert_eq!(world.planner.stats().under_replicated, names.len() as u64, "a rebuild finds every file");
}
