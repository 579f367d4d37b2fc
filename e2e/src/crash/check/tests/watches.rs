//! Deliveries that cannot be.

use super::*;

#[test]
fn a_skipped_event_is_a_gap() {
    let found = fault(|history| drop(history.sessions[1].deliveries.remove(1)));
    assert!(
        matches!(
            found,
            Fault::FalseBookmark {
                missed: Revision(17),
                ..
            }
        ),
        "{found}"
    );
    let found = fault(|history| drop(history.sessions[2].deliveries.remove(1)));
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
fn a_watch_that_resumes_too_late_has_a_gap() {
    let found = fault(|history| drop(history.sessions[0].deliveries.remove(0)));
    assert!(
        matches!(
            found,
            Fault::Gap {
                missed: Revision(11),
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn events_out_of_order_are_reordered() {
    // Another watcher has seen both, and so has this one, the wrong way round.
    let found = fault(|history| {
        let swapped = [(90, added("a", object(17, "uc", 4, 0))), (91, gone("a", 15))];
        history.sessions.push(session("late", None, 15 - 1, &swapped));
        history.sessions[3].after = Revision(16);
    });
    assert!(
        matches!(
            found,
            Fault::Reordered {
                revision: Revision(15),
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn an_event_that_comes_again_is_a_duplicate() {
    let found = fault(|history| {
        let again = history.sessions[1].deliveries[1].clone();
        history.sessions[1].deliveries.insert(2, again);
    });
    assert!(
        matches!(
            found,
            Fault::Duplicate {
                revision: Revision(17),
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn an_event_that_a_resumed_watch_had_seen_is_told_again_in_vain() {
    let found = fault(|history| {
        let seen = history.sessions[0].deliveries[3].clone();
        history.sessions[1].deliveries.insert(0, seen);
    });
    assert!(
        matches!(
            found,
            Fault::Reordered {
                revision: Revision(13),
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn a_bookmark_ahead_of_its_events_is_false() {
    let found = fault(|history| history.sessions[2].deliveries.insert(1, (Tick(43), bookmark(13))));
    assert!(
        matches!(
            found,
            Fault::FalseBookmark {
                missed: Revision(13),
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn a_bookmark_from_the_future_is_out_of_time() {
    let found = fault(|history| history.sessions[0].deliveries[2].1 = bookmark(13));
    assert!(
        matches!(found, Fault::FalseBookmark { .. } | Fault::OutOfTime { .. }),
        "{found}"
    );
    // Nothing that concerns the watcher is missing; but what was asked for afterwards came before the bookmark.
    let mut history = sound();
    history.sessions[2].deliveries.truncate(2);
    history.sessions[2].deliveries.push((Tick(49), bookmark(14)));
    check(&history).expect("it is true");
    history.sessions[2].deliveries[2] = (Tick(49), bookmark(15));
    let found = check(&history).expect_err("the removal was asked for later");
    let early = |fault: &Fault| {
        matches!(
            fault,
            Fault::OutOfTime {
                revision: Revision(15),
                ..
            }
        )
    };
    assert!(found.iter().any(early), "{found:?}");
}

#[test]
fn an_event_of_the_wrong_kind_is_wrong() {
    let found = fault(|history| history.sessions[1].deliveries[1].1 = modified("a", object(17, "uc", 4, 0)));
    assert!(matches!(found, Fault::WrongEvent { .. }), "{found}");
    // The key did not leave shard 1 by this change; it came into it.
    let found = fault(|history| history.sessions[2].deliveries[1].1 = gone("a", 13));
    assert!(matches!(found, Fault::WrongEvent { .. }), "{found}");
}

#[test]
fn what_nobody_watched_is_not_held_against_the_server() {
    let mut history = sound();
    // Between 13 and 16 nobody watches: the removal may have happened, and when is not known.
    history.sessions[1].after = Revision(16);
    history.sessions[1].deliveries.remove(0);
    history.sessions.pop();
    assert_eq!(check(&history).map(|extent| extent.dim), Ok(2));
}
