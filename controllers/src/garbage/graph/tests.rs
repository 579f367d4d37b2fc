use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

fn owner(uid: &str, blocks: bool) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "Thing".to_owned(),
        name: uid.to_owned(),
        uid: uid.to_owned(),
        block_owner_deletion: Some(blocks),
        controller: None,
    }
}

fn item(uid: &str, owners: &[&str]) -> Item {
    Item {
        uid: uid.to_owned(),
        name: uid.to_owned(),
        group: "apps".to_owned(),
        kind: "Thing".to_owned(),
        namespace: "ns".to_owned(),
        owners: owners.iter().map(|uid| owner(uid, true)).collect(),
        ..Item::default()
    }
}

fn graph(items: &[Item]) -> Graph {
    let mut graph = Graph::default();
    for item in items {
        graph.observe(item.clone());
    }
    graph
}

fn gone(uids: &[&str]) -> Answers {
    uids.iter().map(|uid| ((*uid).to_owned(), false)).collect()
}

#[test]
fn owners_decide() {
    let deleting = |finalizer: &str| Item {
        deleting: true,
        finalizers: vec![finalizer.to_owned()],
        ..item("owner", &[])
    };
    let child = item("child", &["owner"]);
    let two = item("child", &["owner", "lost"]);
    let cases = [
        (
            "solid",
            vec![item("owner", &[]), child.clone()],
            gone(&[]),
            Decision::Nothing,
        ),
        (
            "unknown",
            vec![child.clone()],
            gone(&[]),
            Decision::Ask(child.clone(), child.owners.clone()),
        ),
        (
            "gone",
            vec![child.clone()],
            gone(&["owner"]),
            Decision::Delete(child.clone(), Policy::Background),
        ),
        (
            "one of two gone",
            vec![item("owner", &[]), two.clone()],
            gone(&["lost"]),
            Decision::SetOwners(two.clone(), vec![owner("owner", true)]),
        ),
        (
            "owner waits",
            vec![deleting(FOREGROUND), child.clone()],
            gone(&[]),
            Decision::Delete(child.clone(), Policy::Background),
        ),
        (
            "owner waits and there are grandchildren",
            vec![
                deleting(FOREGROUND),
                child.clone(),
                item("grandchild", &["child"]),
            ],
            gone(&[]),
            Decision::Delete(child.clone(), Policy::Foreground),
        ),
    ];
    for (why, items, answers, expected) in cases {
        assert_eq!(graph(&items).decide("child", &answers), expected, "{why}");
    }
}

#[test]
fn a_foreground_deletion_waits_for_what_blocks_it() {
    let waiting = Item {
        deleting: true,
        finalizers: vec![FOREGROUND.to_owned()],
        ..item("owner", &[])
    };
    let mut graph = graph(&[waiting.clone(), item("child", &["owner"])]);
    assert_eq!(
        graph.decide("owner", &gone(&[])),
        Decision::Visit(vec!["child".to_owned()])
    );
    assert_eq!(graph.forget("child"), ["owner"]);
    assert_eq!(
        graph.decide("owner", &gone(&[])),
        Decision::SetFinalizers(waiting, vec![])
    );
}

#[test]
fn orphaning_frees_the_dependents_first() {
    let leaving = Item {
        deleting: true,
        finalizers: vec![ORPHAN.to_owned()],
        ..item("owner", &[])
    };
    let child = item("child", &["owner"]);
    let graph = graph(&[leaving.clone(), child.clone()]);
    let expected = Decision::SetFree(leaving, vec![(child, vec![])], vec![]);
    assert_eq!(graph.decide("owner", &gone(&[])), expected);
}

#[test]
fn an_owner_in_another_namespace_is_no_owner() {
    let mut elsewhere = item("owner", &[]);
    elsewhere.namespace = "other".to_owned();
    let child = item("child", &["owner"]);
    let graph = graph(&[elsewhere, child.clone()]);
    assert_eq!(
        graph.decide("child", &gone(&[])),
        Decision::Ask(child.clone(), child.owners.clone())
    );
}

/// A world of objects that behaves as the API server: deletes with policies, finalizers, events.
#[derive(Default)]
struct World {
    items: BTreeMap<String, Item>,
    graph: Graph,
    queue: VecDeque<String>,
    /// Uids in the order they went.
    went: Vec<String>,
}

impl World {
    fn put(&mut self, item: Item) {
        if item.deleting && item.finalizers.is_empty() {
            self.items.remove(&item.uid);
            self.went.push(item.uid.clone());
            self.queue.extend(self.graph.forget(&item.uid));
        } else {
            self.items.insert(item.uid.clone(), item.clone());
            self.queue.extend(self.graph.observe(item));
        }
    }

    fn delete(&mut self, uid: &str, policy: Policy) {
        let Some(mut item) = self.items.get(uid).cloned() else {
            return;
        };
        let finalizer = match policy {
            Policy::Background => None,
            Policy::Foreground => Some(FOREGROUND),
            Policy::Orphan => Some(ORPHAN),
        };
        if let Some(finalizer) = finalizer.filter(|finalizer| !item.has(finalizer)) {
            item.finalizers.push(finalizer.to_owned());
        }
        item.deleting = true;
        self.put(item);
    }

    fn write(&mut self, uid: &str, change: impl FnOnce(&mut Item)) {
        if let Some(mut item) = self.items.get(uid).cloned() {
            change(&mut item);
            self.put(item);
        }
    }

    fn act(&mut self, decision: Decision) {
        match decision {
            Decision::Nothing => {}
            Decision::Ask(item, owners) => {
                let found = |owner: &OwnerReference| (owner.uid.clone(), self.items.contains_key(&owner.uid));
                let answers = owners.iter().map(found).collect();
                let decision = self.graph.decide(&item.uid, &answers);
                assert!(!matches!(decision, Decision::Ask(..)), "answers were given");
                self.act(decision);
            }
            Decision::Delete(item, policy) => self.delete(&item.uid, policy),
            Decision::SetOwners(item, owners) => self.write(&item.uid, |item| item.owners = owners),
            Decision::SetFinalizers(item, finalizers) => {
                self.write(&item.uid, |item| item.finalizers = finalizers)
            }
            Decision::Visit(uids) => self.queue.extend(uids),
            Decision::SetFree(item, dependents, finalizers) => {
                for (dependent, owners) in dependents {
                    self.write(&dependent.uid, |item| item.owners = owners);
                }
                self.write(&item.uid, |item| item.finalizers = finalizers);
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            let Some(uid) = self.queue.pop_front() else { return };
            let decision = self.graph.decide(&uid, &Answers::new());
            self.act(decision);
        }
        panic!("the collector does not come to rest");
    }
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::Background),
        Just(Policy::Foreground),
        Just(Policy::Orphan)
    ]
}

proptest! {
    /// Objects own later ones; some are deleted. When all is quiet, what had an owner still has one that is there, or had
    /// all its owners orphan it; nothing is left half deleted.
    #[test]
    fn nothing_outlives_its_owners_and_nothing_goes_without_reason(
        edges in prop::collection::vec(prop::collection::btree_set(0usize..12, 0..3), 12),
        deletions in prop::collection::vec((0usize..12, policy()), 1..6),
    ) {
        let mut world = World::default();
        for (number, owners) in edges.iter().enumerate() {
            let owners: Vec<String> = owners.iter().filter(|o| **o < number).map(|o| format!("o{o}")).collect();
            let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
            world.put(item(&format!("o{number:}"), &owners));
        }
        world.settle();
        prop_assert_eq!(world.items.len(), 12, "nothing goes before anything is deleted");
        let asked: Vec<String> = deletions.iter().map(|(number, _)| format!("o{number}")).collect();
        let owned_at_first: BTreeMap<String, usize> =
            world.items.values().map(|item| (item.uid.clone(), item.owners.len())).collect();
        for (number, policy) in &deletions {
            world.delete(&format!("o{number}"), *policy);
            world.settle();
        }
        for item in world.items.values() {
            prop_assert!(!item.deleting, "{} is stuck", item.uid);
            let held = item.owners.iter().all(|owner| world.items.contains_key(&owner.uid));
            prop_assert!(held, "{} refers to an owner that is gone", item.uid);
        }
        for uid in &world.went {
            prop_assert!(asked.contains(uid) || owned_at_first[uid] > 0, "{} went without reason", uid);
        }
    }

    /// Under foreground deletion an owner goes after everything that it owns.
    #[test]
    fn foreground_goes_from_the_leaves_up(edges in prop::collection::vec(0usize..10, 10)) {
        let mut world = World::default();
        world.put(item("o0", &[]));
        for (number, owner) in edges.iter().enumerate() {
            world.put(item(&format!("o{}", number + 1), &[&format!("o{}", owner % (number + 1))]));
        }
        world.delete("o0", Policy::Foreground);
        world.settle();
        prop_assert!(world.items.is_empty());
        let when = |uid: &str| world.went.iter().position(|went| went == uid).unwrap();
        for (number, owner) in edges.iter().enumerate() {
            let (child, owner) = (format!("o{}", number + 1), format!("o{}", owner % (number + 1)));
            prop_assert!(when(&child) < when(&owner), "{owner} went before {child}");
        }
    }
}
