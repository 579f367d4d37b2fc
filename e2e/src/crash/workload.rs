//! Writers and readers that contend for a few keys.

use std::time::Duration;

use fastrand::Rng;
use tokio_util::sync::CancellationToken;

use super::client::Recorder;
use super::history::{Action, Answer, Object, Revision, Value};

/// How many keys there are: few, so that writers meet.
pub const KEYS: u8 = 7;

/// Into how many parts labels divide the keys.
pub const SHARDS: u8 = 3;

/// The largest values of a writer, so that files are written and merged.
const LARGE: usize = 24 << 10;

/// How long to leave a server alone that did not do what it was asked.
const PAUSE: Duration = Duration::from_millis(20);

/// Writes, removes and reads until it is stopped, by chance.
pub async fn work(recorder: Recorder, mut random: Rng, stop: CancellationToken) {
    // What it believes to be there, which others may have changed since.
    let mut seen: Vec<Option<Object>> = vec![None; usize::from(KEYS)];
    while !stop.is_cancelled() {
        let key = random.u8(..KEYS);
        let known = &mut seen[usize::from(key)];
        let action = choose(&mut random, known.as_ref(), recorder.observer().token());
        let padding = if random.u8(..10) == 0 {
            random.usize(..LARGE)
        } else {
            random.usize(..64)
        };
        let answer = recorder.call(&name(key), action, padding).await;
        match answer {
            Answer::Written(object) | Answer::Found(Some(object)) => *known = Some(object),
            Answer::Found(None) | Answer::Deleted { .. } | Answer::Missing => *known = None,
            // It has to look before it knows again.
            Answer::Conflict | Answer::Exists => {
                if let Answer::Found(found) = recorder.call(&name(key), Action::Get, 0).await {
                    *known = found;
                }
            }
            Answer::Listed { mut objects, .. } => {
                for key in 0..KEYS {
                    seen[usize::from(key)] = objects.remove(&name(key));
                }
            }
            // The server is gone, or has too much to do.
            Answer::Refused | Answer::Unknown => {
                stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
    }
}

/// The name of a key.
pub fn name(key: u8) -> String {
    format!("key-{key}")
}

fn choose(random: &mut Rng, known: Option<&Object>, token: u64) -> Action {
    let value = Value {
        token,
        shard: random.u8(..SHARDS),
    };
    match (random.u8(..20), known) {
        (0, _) => Action::List { at: None },
        (1, _) => Action::List {
            at: Some(Revision(0)),
        },
        (2..=4, _) => Action::Get,
        (5, Some(object)) => Action::List {
            at: Some(object.revision),
        },
        (6..=7, _) => Action::Delete { uid: None },
        (8..=9, Some(object)) => Action::Delete {
            uid: Some(object.uid.clone()),
        },
        (10..=11, _) => Action::Replace { value, over: None },
        (_, Some(object)) => Action::Replace {
            value,
            over: Some(object.revision),
        },
        (_, None) => Action::Create(value),
    }
}
