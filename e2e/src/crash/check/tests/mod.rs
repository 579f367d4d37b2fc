//! A history that is well, and what the checker says once something is wrong with it: with [`calls`], or with [`watches`].

mod calls;
mod watches;

use super::{Fault, check};
use crate::crash::history::{
    Action, Answer, Call, Delivery, History, Object, Revision, Session, Tick, Value,
};

fn object(revision: u64, uid: &str, token: u64, shard: u8) -> Object {
    Object {
        revision: Revision(revision),
        uid: uid.to_owned(),
        value: Value { token, shard },
    }
}

fn call(key: &str, began: u64, ended: u64, action: Action, answer: Answer) -> Call {
    Call {
        key: key.to_owned(),
        action,
        began: Tick(began),
        ended: Tick(ended),
        answer,
    }
}

fn create(key: &str, began: u64, ended: u64, written: Object) -> Call {
    call(
        key,
        began,
        ended,
        Action::Create(written.value),
        Answer::Written(written),
    )
}

fn replace(key: &str, began: u64, ended: u64, over: Option<u64>, written: Object) -> Call {
    let action = Action::Replace {
        value: written.value,
        over: over.map(Revision),
    };
    call(key, began, ended, action, Answer::Written(written))
}

fn delete(key: &str, began: u64, ended: u64, answer: Answer) -> Call {
    call(key, began, ended, Action::Delete { uid: None }, answer)
}

fn deleted(uid: &str) -> Answer {
    Answer::Deleted { uid: uid.to_owned() }
}

fn list(began: u64, ended: u64, revision: u64, objects: &[(&str, Object)]) -> Call {
    let objects = objects
        .iter()
        .map(|(key, object)| ((*key).to_owned(), object.clone()));
    let answer = Answer::Listed {
        revision: Revision(revision),
        objects: objects.collect(),
    };
    call("", began, ended, Action::List { at: None }, answer)
}

fn session(watcher: &str, shard: Option<u8>, after: u64, deliveries: &[(u64, Delivery)]) -> Session {
    let deliveries = deliveries
        .iter()
        .map(|(tick, delivery)| (Tick(*tick), delivery.clone()));
    Session {
        watcher: watcher.to_owned(),
        shard,
        after: Revision(after),
        deliveries: deliveries.collect(),
    }
}

fn added(key: &str, object: Object) -> Delivery {
    Delivery::Added(key.to_owned(), object)
}

fn modified(key: &str, object: Object) -> Delivery {
    Delivery::Modified(key.to_owned(), object)
}

fn gone(key: &str, revision: u64) -> Delivery {
    Delivery::Deleted(key.to_owned(), Revision(revision))
}

fn bookmark(revision: u64) -> Delivery {
    Delivery::Bookmark(Revision(revision))
}

/// `a` is made at 11, changed at 13 (into shard 1), removed at 15 and made again at 17; `b` is made at 12. Everything of it is
/// seen by `all`, in two sessions, and by `one`, who watches shard 1. A last write at 40 comes after everything else.
fn sound() -> History {
    let (a11, b12) = (object(11, "ua", 1, 0), object(12, "ub", 2, 1));
    let (a13, a17) = (object(13, "ua", 3, 1), object(17, "uc", 4, 0));
    let end = object(40, "ue", 5, 0);
    History {
        calls: vec![
            create("a", 1, 10, a11.clone()),
            create("b", 2, 20, b12.clone()),
            replace("a", 30, 40, Some(11), a13.clone()),
            call("a", 41, 42, Action::Get, Answer::Found(Some(a13.clone()))),
            list(43, 44, 14, &[("a", a13.clone()), ("b", b12.clone())]),
            delete("a", 50, 60, deleted("ua")),
            call("a", 61, 62, Action::Get, Answer::Found(None)),
            create("a", 70, 80, a17.clone()),
            list(90, 91, 18, &[("a", a17.clone()), ("b", b12.clone())]),
            create("end", 200, 201, end.clone()),
        ],
        sessions: vec![
            session(
                "all",
                None,
                10,
                &[
                    (11, added("a", a11.clone())),
                    (21, added("b", b12.clone())),
                    (39, bookmark(12)),
                    (42, modified("a", a13.clone())),
                ],
            ),
            session(
                "all",
                None,
                13,
                &[
                    (61, gone("a", 15)),
                    (81, added("a", a17)),
                    (91, bookmark(18)),
                    (202, added("end", end)),
                ],
            ),
            session(
                "one",
                Some(1),
                10,
                &[
                    (21, added("b", b12)),
                    (42, added("a", a13)),
                    (61, gone("a", 15)),
                    (91, bookmark(18)),
                ],
            ),
        ],
    }
}

/// Has the first watcher of everything be told something before the end.
fn tell(history: &mut History, tick: u64, delivery: Delivery) {
    let deliveries = &mut history.sessions[1].deliveries;
    deliveries.insert(deliveries.len() - 1, (Tick(tick), delivery));
}

/// What is found first once the sound history has been changed.
fn fault(spoil: impl FnOnce(&mut History)) -> Fault {
    let mut history = sound();
    spoil(&mut history);
    check(&history).expect_err("something is wrong with it").remove(0)
}
