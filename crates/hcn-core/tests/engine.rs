//! The engine: reservations, waiting, publishing, failing, repairing; and that no sequence of calls and
//! failures brings records, indexes and kernel apart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

#[path = "engine/world.rs"]
mod world;

use std::time::Duration;

use hcn_core::{Change, Engine, Entity, Failure, Registry, compile, read, restore};
use hcn_dataplane::{Dataplane, Plan, State};
use hcn_schema::call::{Answer, Call, Kind, Reference, Verb};
use hcn_schema::{Guid, HResult};
use proptest::prelude::*;
use world::World;

#[test]
fn a_pending_network_is_not_seen_and_its_name_is_taken() {
    let mut world = World::default();
    let first = world.create_network(1, "a");
    assert!(world.reply(first).is_none());
    assert_eq!(world.enumerate(Kind::Network), 0);
    let second = world.create_network(2, "a");
    assert!(world.reply(second).is_none(), "it waits to see whether the first succeeds");
    world.finish(false);
    assert_eq!(world.enumerate(Kind::Network), 1);
    assert_eq!(world.code(second), Some(HResult::NETWORK_ALREADY_EXISTS));
}

#[test]
fn a_name_that_was_reserved_by_a_failure_is_free() {
    let mut world = World::default();
    let first = world.create_network(1, "a");
    let second = world.create_network(2, "a");
    world.finish(true);
    assert_eq!(world.code(first), Some(HResult::GENERAL_FAILURE));
    world.finish(false);
    assert!(world.reply(second).unwrap().is_ok());
}

#[test]
fn calls_wait_for_an_entity_in_the_order_of_arrival() {
    let mut world = World::default();
    let network = world.create_network(1, "a");
    let endpoint = world.create_endpoint(2, 1);
    let deleted = world.delete(Kind::Network, 1);
    let late = world.create_endpoint(3, 1);
    assert_eq!(world.jobs.len(), 1, "all but the first wait");
    world.finish_all();
    assert!(world.reply(network).unwrap().is_ok());
    assert!(world.reply(endpoint).unwrap().is_ok());
    assert!(world.reply(deleted).unwrap().is_ok());
    assert_eq!(world.code(late), Some(HResult::NETWORK_NOT_FOUND));
    assert!(world.kernel.state.is_empty() && world.published == Registry::new());
}

#[test]
fn endpoints_of_one_network_are_made_at_the_same_time_with_different_addresses() {
    let mut world = World::default();
    world.create_network(1, "a");
    world.finish_all();
    world.create_endpoint(2, 1);
    world.create_endpoint(3, 1);
    world.finish(true);
    world.finish(false);
    let addresses: Vec<_> =
        world.published.endpoints.iter().map(|e| e.addresses[0].addr().to_string()).collect();
    assert_eq!(addresses, ["10.0.1.3"]);
}

#[test]
fn a_call_that_waits_too_long_times_out() {
    let mut world = World::default();
    world.create_network(1, "a");
    let waiting = world.create_endpoint(2, 1);
    let due = world.engine.next_tick().unwrap();
    world.now = due - Duration::from_millis(1);
    let actions = world.engine.tick(world.now);
    assert!(actions.is_empty());
    world.now = due;
    let actions = world.engine.tick(world.now);
    world.perform(actions);
    assert_eq!(world.code(waiting), Some(HResult::TIMEOUT));
    world.finish_all();
    assert!(world.published.endpoints.is_empty());
}

#[test]
fn what_cannot_be_undone_stays_visible_as_degraded_until_it_is_repaired() {
    let mut world = World::default();
    let created = world.create_network(1, "a");
    let job = world.jobs.remove(0);
    // The bridge was made and could not be taken away again.
    let made = Plan { ops: job.plan.ops[..2].to_vec() };
    let left = Plan { ops: made.inverse().ops };
    let applied = world.kernel.apply(&made).unwrap();
    world.kernel.settle(applied);
    let failure = Failure { message: "stuck".to_owned(), left: Some(left), code: None };
    let actions = world.engine.finish(job.ticket, Err(failure), world.now);
    world.perform(actions);
    assert_eq!(world.code(created), Some(HResult::GENERAL_FAILURE));
    assert_eq!(world.enumerate(Kind::Network), 1, "it is visible");
    let query = Verb::Query {
        target: Reference { id: World::guid(1), incarnation: None },
        query: Some(r#"{"SchemaVersion":{"Major":2}}"#.to_owned()),
    };
    let Ok(Answer::Document(document)) =
        read::read(&world.published, &Call { kind: Kind::Network, verb: query })
    else {
        panic!("no document")
    };
    assert!(document.get().contains(&format!("\"LastErrorCode\":{}", 0x8007_001f_u32)), "{}", document.get());
    let refused = world.delete(Kind::Network, 1);
    assert_eq!(world.code(refused), Some(HResult::DEGRADED_OPERATION));

    // A repair that fails is tried again, with all that is still to be done.
    world.now = world.engine.next_tick().unwrap();
    let actions = world.engine.tick(world.now);
    world.perform(actions);
    let repair = world.jobs[0].plan.clone();
    world.finish(true);
    assert_eq!(world.enumerate(Kind::Network), 1, "it is not forgotten");
    world.now = world.engine.next_tick().unwrap();
    let actions = world.engine.tick(world.now);
    world.perform(actions);
    assert_eq!(world.jobs[0].plan, repair);
    let waiting = world.create_network(1, "a");
    assert!(world.reply(waiting).is_none(), "the ID is being repaired");
    world.finish_all();
    assert!(world.reply(waiting).unwrap().is_ok());
    assert_eq!(world.kernel.state, compile::all(&world.published));
}

#[test]
fn an_endpoint_that_is_being_let_go_of_is_not_deleted_before_it_is() {
    let mut world = World::default();
    world.create_network(1, "a");
    world.finish_all();
    world.create_endpoint(10, 1);
    world.finish_all();
    world.balance(30, &[10], 80, false);
    world.finish_all();
    world.balance(30, &[], 80, true);
    let deleted = world.delete(Kind::Network, 1);
    assert_eq!(world.jobs.len(), 1, "the load balancer may need the endpoint again");
    world.finish(true);
    world.finish_all();
    assert!(world.reply(deleted).unwrap().is_ok());
    assert!(world.published.load_balancers.iter().all(|balancer| balancer.endpoints.is_empty()));
    assert_eq!(world.kernel.state, compile::all(&world.published));
}

#[test]
fn endpoints_on_the_host_have_links_of_their_own_however_alike_their_ids_are() {
    let mut world = World::default();
    world.create_network(1, "a");
    world.finish_all();
    for endpoint in [10, 11] {
        world.create_endpoint(endpoint, 1);
        world.finish_all();
        let attached = world.attach(endpoint, true, "Host", 0);
        world.finish_all();
        assert!(world.reply(attached).unwrap().is_ok());
    }
    let mut names: Vec<_> = world.published.endpoints.iter().map(|e| e.interface.clone().unwrap()).collect();
    names.dedup();
    assert_eq!(names.len(), 2);
}

#[test]
fn a_chosen_port_that_a_program_has_is_passed_over() {
    let mut world = World::default();
    world.create_network(1, "a");
    world.finish_all();
    world.create_endpoint(10, 1);
    world.finish_all();
    let call = world.publish(10, 0);
    let refused =
        || Failure { message: "in use".to_owned(), left: None, code: Some(HResult::PORT_ALREADY_EXISTS) };
    for _ in 0..2 {
        let job = world.jobs.remove(0);
        let actions = world.engine.finish(job.ticket, Err(refused()), world.now);
        world.perform(actions);
        assert!(world.reply(call).is_none(), "another port is tried");
    }
    world.finish_all();
    assert!(world.reply(call).unwrap().is_ok());
    let ports: Vec<u16> = world
        .published
        .endpoints
        .iter()
        .flat_map(|e| e.ports.iter().map(|port| port.frontend.port))
        .collect();
    assert_eq!(ports, [49_154]);

    // A port that the client chose is not passed over.
    let call = world.publish(10, 8080);
    let job = world.jobs.remove(0);
    let actions = world.engine.finish(job.ticket, Err(refused()), world.now);
    world.perform(actions);
    assert_eq!(world.code(call), Some(HResult::PORT_ALREADY_EXISTS));
}

#[test]
fn of_two_that_want_a_port_one_gets_it_whatever_becomes_of_the_first() {
    for first_fails in [false, true] {
        let mut world = World::default();
        world.create_network(1, "a");
        world.finish_all();
        world.create_endpoint(10, 1);
        world.finish_all();
        let first = world.balance(30, &[10], 8080, false);
        let second = world.balance(31, &[10], 8080, false);
        assert!(world.reply(second).is_none(), "it waits to see what becomes of the first");
        world.finish(first_fails);
        world.finish_all();
        assert_eq!(world.reply(first).unwrap().is_err(), first_fails);
        assert_eq!(world.code(second), (!first_fails).then_some(HResult::PORT_ALREADY_EXISTS));
        assert_eq!(world.enumerate(Kind::LoadBalancer), 1);
    }
}

#[test]
fn what_a_restart_finds_missing_is_made_and_what_fails_is_degraded_alone() {
    let mut before = World::default();
    for (id, name) in [(1, "a"), (2, "b")] {
        before.create_network(id, name);
        before.create_endpoint(id + 10, id);
    }
    before.finish_all();
    let records: Vec<Entity> = restore::after_restart(before.published.entities().collect());

    // Everything is there: nothing is done.
    let mut engine = Engine::restored(&records, 100);
    assert!(engine.reconcile(&before.kernel.state).is_empty());
    assert_eq!(*engine.working(), before.published);

    // The kernel lost both networks, and one of them cannot be made again at first.
    let mut world = World { engine, published: before.published.clone(), ..World::default() };
    let actions = world.engine.reconcile(&State::new());
    world.perform(actions);
    assert_eq!(world.jobs.len(), 2);
    world.finish(true);
    let late = world.create_endpoint(21, 1);
    assert_eq!(world.code(late), Some(HResult::DEGRADED_OPERATION));
    let fine = world.create_endpoint(22, 2);
    world.finish_all();
    assert!(world.reply(fine).unwrap().is_ok());
    world.now = world.engine.next_tick().unwrap();
    let actions = world.engine.tick(world.now);
    world.perform(actions);
    world.finish_all();
    assert_eq!(world.kernel.state, compile::all(&world.published));
    assert!(world.published.entities().all(|entity| entity.meta().degraded.is_none()));
    let youngest = world.published.endpoints.get(World::guid(22)).unwrap().meta.incarnation;
    assert!(youngest > 100, "incarnations are never used again: {youngest}");
}

#[test]
fn a_reboot_leaves_what_persists() {
    let mut world = World::default();
    world.create_network(1, "stays");
    let document = r#"{"Name":"goes","Flags":8,"SchemaVersion":{"Major":2},
        "Ipams":[{"Subnets":[{"IpAddressPrefix":"10.0.2.0/28"}]}]}"#;
    world.submit(
        Kind::Network,
        Verb::Create { id: Some(World::guid(2)), parent: None, document: Some(document.to_owned()) },
    );
    world.create_namespace(20);
    world.finish_all();
    for (id, network) in [(10, 1), (11, 2), (12, 2)] {
        world.create_endpoint(id, network);
    }
    world.finish_all();
    world.members(20, "Add", 10);
    world.balance(30, &[10], 8080, false);
    world.balance(31, &[11, 12], 8081, false);
    world.finish_all();
    let left = Registry::of(&restore::after_reboot(world.published.entities().collect()));
    let ids = |kind: Kind| -> Vec<Guid> {
        left.entities().filter(|entity| entity.kind() == kind).map(|entity| entity.meta().id).collect()
    };
    assert_eq!(ids(Kind::Network), [World::guid(1)]);
    assert_eq!(ids(Kind::Endpoint), [World::guid(10)]);
    assert_eq!(ids(Kind::LoadBalancer), [World::guid(30)]);
    assert!(ids(Kind::Namespace).is_empty());
    let endpoint = left.endpoints.get(World::guid(10)).unwrap();
    assert_eq!((endpoint.namespace, endpoint.interface.as_deref()), (None, None));
    assert_eq!(endpoint.addresses, world.published.endpoints.get(World::guid(10)).unwrap().addresses);
}

/// What clients and the kernel may do, in any order.
#[derive(Clone, Debug)]
enum Step {
    CreateNetwork(u64),
    CreateEndpoint(u64, u64),
    CreateNamespace(u64),
    Publish(u64, u16),
    Balance { id: u64, endpoints: Vec<u64>, port: u16, again: bool },
    Route { id: u64, endpoints: Vec<u64>, prefix: u16, again: bool },
    Translate(u64, u16),
    Members(u64, bool, u64),
    Attach { endpoint: u64, attach: bool, to: &'static str, number: u32 },
    Plug { endpoint: u64, plug: bool, port: u64 },
    Rule { of: (Kind, u64), request: &'static str, rule_type: &'static str, set: &'static str },
    Set { network: u64, request: &'static str, set: &'static str, last: u8 },
    Delete(Kind, u64),
    Finish(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let (network, endpoint, namespace, balancer) = (0u64..3, 10u64..16, 20u64..22, 30u64..33);
    prop_oneof![
        network.clone().prop_map(Step::CreateNetwork),
        (endpoint.clone(), network.clone()).prop_map(|(e, n)| Step::CreateEndpoint(e, n)),
        namespace.clone().prop_map(Step::CreateNamespace),
        (endpoint.clone(), 0u16..4).prop_map(|(e, port)| Step::Publish(e, port)),
        (balancer.clone(), prop::collection::vec(endpoint.clone(), 0..3), 1u16..4, any::<bool>())
            .prop_map(|(id, endpoints, port, again)| Step::Balance { id, endpoints, port, again }),
        (40u64..43, prop::collection::vec(endpoint.clone(), 0..3), 0u16..3, any::<bool>())
            .prop_map(|(id, endpoints, prefix, again)| Step::Route { id, endpoints, prefix, again }),
        (endpoint.clone(), 0u16..3).prop_map(|(e, number)| Step::Translate(e, number)),
        (namespace.clone(), any::<bool>(), endpoint.clone()).prop_map(|(s, add, e)| Step::Members(s, add, e)),
        (endpoint.clone(), any::<bool>(), prop::sample::select(vec!["Host", "Container"]), 0u32..4)
            .prop_map(|(endpoint, attach, to, number)| Step::Attach { endpoint, attach, to, number }),
        (endpoint.clone(), any::<bool>(), 40u64..42).prop_map(|(endpoint, plug, port)| Step::Plug {
            endpoint,
            plug,
            port
        }),
        (
            prop_oneof![
                network.clone().prop_map(|id| (Kind::Network, id)),
                endpoint.clone().prop_map(|id| (Kind::Endpoint, id)),
            ],
            prop::sample::select(vec!["Add", "Remove"]),
            prop::sample::select(vec!["Switch", "Host"]),
            prop::sample::select(vec!["", "one", "two"]),
        )
            .prop_map(|(of, request, rule_type, set)| Step::Rule { of, request, rule_type, set }),
        (
            network.clone(),
            prop::sample::select(vec!["Add", "Update", "Remove"]),
            prop::sample::select(vec!["one", "two"]),
            1u8..3,
        )
            .prop_map(|(network, request, set, last)| Step::Set { network, request, set, last }),
        prop_oneof![
            network.prop_map(|id| (Kind::Network, id)),
            endpoint.prop_map(|id| (Kind::Endpoint, id)),
            namespace.prop_map(|id| (Kind::Namespace, id)),
            balancer.prop_map(|id| (Kind::LoadBalancer, id)),
            (40u64..43).prop_map(|id| (Kind::SdnRoute, id)),
        ]
        .prop_map(|(kind, id)| Step::Delete(kind, id)),
        prop::bool::weighted(0.2).prop_map(Step::Finish),
        Just(Step::Finish(false)),
        Just(Step::Finish(false)),
    ]
}

/// The same records in a registry that was filled afresh.
fn rebuilt(registry: &Registry) -> Registry {
    let mut change = Change::default();
    registry.networks.iter().cloned().for_each(|n| change.create(Entity::Network(n)));
    registry.endpoints.iter().cloned().for_each(|e| change.create(Entity::Endpoint(e)));
    registry.namespaces.iter().cloned().for_each(|s| change.create(Entity::Namespace(s)));
    registry.load_balancers.iter().cloned().for_each(|b| change.create(Entity::LoadBalancer(b)));
    registry.sdn_routes.iter().cloned().for_each(|r| change.create(Entity::SdnRoute(r)));
    let mut fresh = Registry::new();
    fresh.apply(&change);
    fresh
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_indexes_and_kernel_agree_after_any_calls_and_failures(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::default();
        for step in steps {
            match step {
                Step::CreateNetwork(id) => { world.create_network(id, &format!("n{}", id % 2)); }
                Step::CreateEndpoint(id, network) => { world.create_endpoint(id, network); }
                Step::CreateNamespace(id) => { world.create_namespace(id); }
                Step::Publish(id, port) => { world.publish(id, port); }
                Step::Balance { id, endpoints, port, again } => { world.balance(id, &endpoints, port, again); }
                Step::Route { id, endpoints, prefix, again } => { world.route(id, &endpoints, prefix, again); }
                Step::Translate(id, number) => { world.translate(id, number); }
                Step::Members(id, add, endpoint) => {
                    world.members(id, if add { "Add" } else { "Remove" }, endpoint);
                }
                Step::Attach { endpoint, attach, to, number } => { world.attach(endpoint, attach, to, number); }
                Step::Plug { endpoint, plug, port } => { world.plug(endpoint, plug, port); }
                Step::Rule { of, request, rule_type, set } => { world.rule(of, request, rule_type, set); }
                Step::Set { network, request, set, last } => { world.set(network, request, set, last); }
                Step::Delete(kind, id) => { world.delete(kind, id); }
                Step::Finish(fail) => if !world.jobs.is_empty() { world.finish(fail) },
            }
        }
        world.finish_all();
        prop_assert!(world.engine.is_idle());
        prop_assert_eq!(world.replies.len() as u64, world.last_call, "every call is answered once");
        prop_assert_eq!(world.engine.working(), &world.published);
        prop_assert_eq!(&rebuilt(&world.published), &world.published);
        prop_assert_eq!(&world.kernel.state, &compile::all(&world.published));
    }
}
