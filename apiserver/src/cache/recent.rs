//! The objects that were read last, parsed: an object that was just written is looked at again by its writer, and often
//! changed again soon after.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// Objects are held as long as their JSON is no more than this together; parsed they take some times as much.
const MAX_BYTES: usize = 512 << 10;
/// A larger one would push all others out.
const MAX_OBJECT_BYTES: usize = MAX_BYTES / 8;

/// Holds the newest few objects, so that nobody has to parse them again.
#[derive(Debug, Default)]
pub(super) struct Recent {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    objects: VecDeque<(usize, Arc<Value>)>,
    bytes: usize,
}

impl Recent {
    /// Holds an object, whose JSON has so many bytes, and lets go of the oldest.
    pub(super) fn keep(&self, object: Arc<Value>, bytes: usize) {
        if bytes > MAX_OBJECT_BYTES {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes += bytes;
        held.objects.push_back((bytes, object));
        while held.bytes > MAX_BYTES
            && let Some((gone, _)) = held.objects.pop_front()
        {
            held.bytes -= gone;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn holds_the_newest_and_no_more_than_fits() {
        let recent = Recent::default();
        let objects: Vec<Arc<Value>> = (0..20).map(|number| Arc::new(json!(number))).collect();
        for object in &objects {
            recent.keep(Arc::clone(object), MAX_OBJECT_BYTES);
        }
        let held: Vec<bool> = objects
            .iter()
            .map(|object| Arc::strong_count(object) > 1)
            .collect();
        assert_eq!(held, [[false; 12].as_slice(), &[true; 8]].concat());
        let large = Arc::new(json!("large"));
        recent.keep(Arc::clone(&large), MAX_OBJECT_BYTES + 1);
        assert_eq!(Arc::strong_count(&large), 1);
    }
}
