//! What others change in the kernel: it is put right entity by entity, nobody is in the way of calls, and a fight ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

#[path = "engine/world.rs"]
mod world;

use std::time::Duration;

use hcn_core::compile;
use hcn_dataplane::{Dataplane as _, Key, LinkId, Netns, Object, Scope, State};
use hcn_schema::HResult;
use hcn_schema::call::Kind;
use world::World;

const SECOND: Duration = Duration::from_secs(1);

/// A network with an endpoint in a namespace.
fn attached() -> World {
    let mut world = World::default();
    world.create_network(1, "a");
    world.finish_all();
    world.create_endpoint(2, 1);
    world.create_namespace(3);
    world.finish_all();
    world.members(3, "Add", 2);
    world.finish_all();
    assert!(world.replies.iter().all(|(_, result)| result.is_ok()), "{:?}", world.replies);
    world.events.clear();
    world
}

/// Looks, and starts what follows from it.
fn look(world: &mut World, scope: &Scope) {
    let wanted = world.engine.expected(scope, world.now);
    let found = world.kernel.look(&wanted, scope).unwrap();
    let actions = world.engine.looked(&found, world.now);
    world.perform(actions);
}

/// Somebody takes something out of the kernel, with all that stands on it.
fn lose(world: &mut World, wanted: impl Fn(&Object) -> bool) -> Key {
    let keys: Vec<Key> =
        world.kernel.state.iter().filter(|(_, object)| wanted(object)).map(|(key, _)| key.clone()).collect();
    let mut rest = State::new();
    for (key, object) in world.kernel.state.iter() {
        let whole =
            world.kernel.state.parents(object).iter().flatten().all(|parent| rest.get(parent).is_some());
        if !keys.contains(key) && whole {
            rest.insert(object.clone());
        }
    }
    world.kernel.state = rest;
    keys.into_iter().next().expect("something of it")
}

fn is_whole(world: &World) -> bool {
    world.kernel.state == compile::all(world.engine.working())
}

fn code_of(world: &World, kind: Kind, id: u64) -> Option<HResult> {
    let id = World::guid(id);
    world.published.of_kind(kind).find(|entity| entity.meta().id == id).unwrap().meta().degraded
}

#[test]
fn what_is_lost_is_made_again_and_told() {
    for lost in [
        |object: &Object| matches!(object, Object::Address(_)),
        |object: &Object| matches!(object, Object::Veth(_)),
        |object: &Object| matches!(object, Object::Bridge(_)),
        |object: &Object| matches!(object, Object::Netns(_)),
        |object: &Object| matches!(object, Object::Masquerade(_)),
    ] {
        let mut world = attached();
        lose(&mut world, lost);
        assert!(!is_whole(&world));
        while !is_whole(&world) {
            look(&mut world, &Scope::Everything);
            assert!(!world.jobs.is_empty(), "nothing is done about it");
            world.finish_all();
        }
        let told: Vec<_> = world.events.iter().map(|event| event.action).collect();
        assert!(told.iter().all(|action| *action == "repair") && !told.is_empty(), "{told:?}");
        assert!(world.events[0].data.get().contains("Objects"), "{:?}", world.events[0]);
        // With one thing others may be gone: that is looked at, too.
        let again = world.engine.take_due_look(world.now + SECOND);
        assert!(again.is_some_and(|notice| !notice.is_empty()));
        look(&mut world, &Scope::Everything);
        assert!(world.jobs.is_empty());
    }
}

#[test]
fn what_is_right_is_left_alone() {
    let mut world = attached();
    look(&mut world, &Scope::Everything);
    assert!(world.jobs.is_empty() && world.events.is_empty());
    assert_eq!(world.engine.take_due_look(world.now + SECOND), None);
}

#[test]
fn only_the_places_that_are_meant_are_looked_at() {
    let mut world = attached();
    let key = lose(&mut world, |object| matches!(object, Object::Route(_)));
    let Key::Route(LinkId { netns: Netns::Named(name), .. }, ..) = key else {
        panic!("a route inside: {key}")
    };
    look(&mut world, &Scope::Places([Netns::Host].into()));
    assert!(world.jobs.is_empty());
    let elsewhere = World::guid(77).to_string().to_uppercase();
    look(&mut world, &Scope::Places([Netns::Named(elsewhere)].into()));
    assert!(world.jobs.is_empty());
    look(&mut world, &Scope::Places([Netns::Named(name)].into()));
    world.finish_all();
    assert!(is_whole(&world));
}

#[test]
fn who_is_being_changed_is_looked_at_later() {
    let mut world = attached();
    // It is being detached while the look is under way: what was seen of it is no more.
    let wanted = world.engine.expected(&Scope::Everything, world.now);
    let found = State::new();
    world.members(3, "Remove", 2);
    let actions = world.engine.looked(&found, world.now);
    world.perform(actions);
    let repaired: Vec<_> = world.jobs.iter().skip(1).flat_map(|job| job.change.keys()).collect();
    assert!(repaired.iter().all(|key| key.kind == Kind::Network), "{repaired:?}");
    assert!(!wanted.is_empty());
    // And of who was being changed when it began nothing is expected.
    let expected = world.engine.expected(&Scope::Everything, world.now);
    assert!(!expected.iter().any(|(key, _)| matches!(key, Key::Veth(_))));
    assert!(world.engine.take_due_look(world.now + SECOND).is_some());
}

#[test]
fn a_repair_that_fails_degrades_and_is_tried_again() {
    let mut world = attached();
    lose(
        &mut world,
        |object| matches!(object, Object::Address(address) if address.link.netns != Netns::Host),
    );
    look(&mut world, &Scope::Everything);
    world.finish(true);
    assert_eq!(code_of(&world, Kind::Endpoint, 2), Some(HResult::DEGRADED_OPERATION));
    assert_eq!(world.engine.take_due_look(world.now + SECOND), None, "not at once");
    world.now += 6 * SECOND;
    assert!(world.engine.take_due_look(world.now).is_some());
    look(&mut world, &Scope::Everything);
    world.finish_all();
    assert!(is_whole(&world));
    assert_eq!(code_of(&world, Kind::Endpoint, 2), None);
}

#[test]
fn somebody_else_puts_it_right_and_it_is_well_again() {
    let mut world = attached();
    let whole = world.kernel.state.clone();
    lose(
        &mut world,
        |object| matches!(object, Object::Address(address) if address.link.netns != Netns::Host),
    );
    look(&mut world, &Scope::Everything);
    world.finish(true);
    world.kernel.state = whole;
    look(&mut world, &Scope::Everything);
    world.finish_all();
    assert_eq!(code_of(&world, Kind::Endpoint, 2), None);
}

#[test]
fn a_fight_ends_and_begins_again_after_a_truce() {
    let mut world = attached();
    let inside = |object: &Object| matches!(object, Object::Route(route) if route.link.netns != Netns::Host);
    let mut rounds = 0;
    loop {
        lose(&mut world, inside);
        look(&mut world, &Scope::Everything);
        if world.jobs.is_empty() {
            break;
        }
        world.finish_all();
        world.now += Duration::from_millis(100);
        rounds += 1;
        assert!(rounds < 100, "it never ends");
    }
    assert!(rounds >= 10, "{rounds}: so few are no fight");
    assert_eq!(code_of(&world, Kind::Endpoint, 2), Some(HResult::DEGRADED_OPERATION));
    assert_eq!(world.events.last().unwrap().action, "fight");
    // Others are looked after meanwhile.
    lose(&mut world, |object| matches!(object, Object::Masquerade(_)));
    look(&mut world, &Scope::Everything);
    assert_eq!(world.jobs.len(), 1);
    world.finish_all();
    // After the truce it is put right; if that is undone again, the next truce is longer.
    let mut truces = Vec::new();
    for _ in 0..3 {
        let begun = world.now;
        while world.jobs.is_empty() {
            world.now += SECOND;
            assert!(world.now < begun + 2000 * SECOND, "it is never tried again");
            if world.engine.take_due_look(world.now).is_some() {
                look(&mut world, &Scope::Everything);
            }
        }
        truces.push(world.now - begun);
        world.finish_all();
        assert!(is_whole(&world));
        assert_eq!(code_of(&world, Kind::Endpoint, 2), None);
        while code_of(&world, Kind::Endpoint, 2).is_none() {
            lose(&mut world, inside);
            look(&mut world, &Scope::Everything);
            world.finish_all();
        }
    }
    assert!(truces[0] >= 29 * SECOND && truces[1] > truces[0] && truces[2] > truces[1], "{truces:?}");
}
