//! Answers that cannot be.

use super::*;

#[test]
fn a_sound_history_passes_and_tells_its_extent() {
    let extent = check(&sound()).expect("nothing is wrong with it");
    assert_eq!((extent.calls, extent.changes, extent.deliveries), (10, 6, 12));
    assert_eq!(extent.unknown, 0);
}

#[test]
fn an_acknowledged_write_that_is_missing_from_a_list_is_lost() {
    let found = fault(|history| {
        history.calls[8] = list(90, 91, 18, &[("b", object(12, "ub", 2, 1))]);
    });
    assert!(matches!(found, Fault::WrongList { found: None, .. }), "{found}");
}

#[test]
fn an_acknowledged_write_that_no_watch_tells_is_lost() {
    // As if the write at 13 had been forgotten in a crash, and all that came after did not know of it.
    let found = fault(|history| {
        history.sessions.remove(2);
        history.sessions[0].deliveries.pop();
        history.sessions[1].after = Revision(12);
    });
    assert!(
        matches!(
            found,
            Fault::Gap {
                missed: Revision(13),
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn a_revision_that_is_used_again_after_a_crash_is_a_contradiction() {
    let found = fault(|history| history.calls.push(create("c", 95, 96, object(17, "ux", 9, 0))));
    assert!(
        matches!(
            found,
            Fault::Contradiction {
                revision: Revision(17),
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn a_stale_read_is_untrue() {
    let found = fault(|history| history.calls[3].answer = Answer::Found(Some(object(11, "ua", 1, 0))));
    assert!(matches!(found, Fault::Untrue { .. }), "{found}");
    let found = fault(|history| history.calls[6].answer = Answer::Found(Some(object(13, "ua", 3, 1))));
    assert!(matches!(found, Fault::Untrue { .. }), "{found}");
}

#[test]
fn a_read_may_see_any_moment_of_its_own_time() {
    let mut history = sound();
    // Asked before the change began and answered after it ended.
    for seen in [object(11, "ua", 1, 0), object(13, "ua", 3, 1)] {
        history
            .calls
            .push(call("a", 12, 45, Action::Get, Answer::Found(Some(seen))));
    }
    check(&history).expect("both are true");
}

#[test]
fn a_stale_list_is_out_of_time() {
    let found = fault(|history| {
        history.calls[8] = list(
            90,
            91,
            12,
            &[("a", object(11, "ua", 1, 0)), ("b", object(12, "ub", 2, 1))],
        );
    });
    assert!(matches!(found, Fault::OutOfTime { .. }), "{found}");
}

#[test]
fn a_list_from_a_cache_may_be_old_but_not_mixed() {
    let old = |objects: &[(&str, Object)]| {
        let mut listed = list(90, 91, 12, objects);
        listed.action = Action::List {
            at: Some(Revision(0)),
        };
        listed
    };
    let mut history = sound();
    history.calls[8] = old(&[("a", object(11, "ua", 1, 0)), ("b", object(12, "ub", 2, 1))]);
    check(&history).expect("it is old, and was so");
    let found = fault(|history| history.calls[8] = old(&[("a", object(11, "ua", 1, 0))]));
    assert!(matches!(found, Fault::WrongList { .. }), "{found}");
}

#[test]
fn an_update_over_another_revision_than_named_is_lost_work() {
    let found = fault(|history| {
        history.calls[2].action = Action::Replace {
            value: Value { token: 3, shard: 1 },
            over: Some(Revision(9)),
        };
    });
    assert!(
        matches!(
            found,
            Fault::OutOfSequence {
                revision: Revision(13),
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn two_creations_of_one_key_cannot_both_be() {
    let found = fault(|history| {
        let twin = object(14, "ud", 8, 0);
        history.calls.push(create("b", 41, 49, twin.clone()));
        history.sessions[1]
            .deliveries
            .insert(0, (Tick(45), added("b", twin)));
    });
    assert!(
        matches!(
            found,
            Fault::OutOfSequence {
                revision: Revision(14),
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn a_refusal_without_a_reason_is_untrue() {
    let refused =
        |action, answer| fault(move |history| history.calls.push(call("b", 92, 93, action, answer)));
    let value = Value { token: 8, shard: 0 };
    let over = Some(Revision(12));
    for found in [
        refused(Action::Delete { uid: None }, Answer::Missing),
        refused(Action::Replace { value, over }, Answer::Conflict),
        refused(Action::Get, Answer::Found(None)),
    ] {
        assert!(matches!(found, Fault::Untrue { .. }), "{found}");
    }
    let found = fault(|history| {
        history
            .calls
            .push(call("c", 92, 93, Action::Create(value), Answer::Exists))
    });
    assert!(matches!(found, Fault::Untrue { .. }), "{found}");
}

#[test]
fn a_refused_write_that_took_place_is_found() {
    let found = fault(|history| history.calls[7].answer = Answer::Exists);
    assert!(matches!(found, Fault::RefusedAndDone { token: 4, .. }), "{found}");
}

#[test]
fn a_write_that_took_place_twice_is_found() {
    let found = fault(|history| {
        let again = object(19, "ub", 2, 1);
        tell(history, 95, modified("b", again));
    });
    assert!(matches!(found, Fault::Twice { token: 2, .. }), "{found}");
}

#[test]
fn a_state_that_nobody_wrote_is_invented() {
    let found = fault(|history| tell(history, 95, added("c", object(19, "u", 77, 0))));
    assert!(matches!(found, Fault::Invented { .. }), "{found}");
}

#[test]
fn a_removal_that_is_undone_or_repeated_is_found() {
    // Acknowledged, but no watch tells it, and the object stays.
    let found = fault(|history| {
        history.calls.push(delete("b", 92, 93, deleted("ub")));
        tell(history, 94, bookmark(30));
    });
    assert!(matches!(found, Fault::Untrue { .. }), "{found}");
    let found = fault(|history| history.calls.push(delete("a", 51, 59, deleted("ua"))));
    assert!(matches!(found, Fault::Untrue { .. }), "{found}");
    // Gone, and nobody had asked.
    let found = fault(|history| drop(history.calls.remove(5)));
    assert!(
        matches!(
            found,
            Fault::OutOfSequence {
                revision: Revision(15),
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn a_write_without_an_answer_may_have_been_done_or_not() {
    let unknown = |key: &str, token, began| {
        let value = Value { token, shard: 0 };
        call(key, began, began + 1, Action::Create(value), Answer::Unknown)
    };
    let mut history = sound();
    history.calls.push(unknown("c", 8, 50));
    check(&history).expect("it was not done");
    // Done long after the client had given up.
    tell(&mut history, 95, added("c", object(19, "u", 8, 0)));
    assert_eq!(check(&history).map(|extent| extent.unknown), Ok(1));
    history.calls.push(delete("c", 96, 97, Answer::Unknown));
    tell(&mut history, 98, gone("c", 20));
    assert_eq!(check(&history).map(|extent| extent.unknown), Ok(2));
}
