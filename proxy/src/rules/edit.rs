//! Changing a long chain by a few rules instead of writing it anew.
//!
//! `KUBE-SERVICES` has a rule for every service, and to write a thousand of them costs ten times what one more costs. In such a
//! chain each rule is for packets of its own, so its place says nothing and a new one may stand at the head. Where two rules are for
//! the same packets, or one for packets that others may match too, the order of the rule set decides: then the chain is written whole.

use std::collections::HashMap;

/// Chains shorter than this are written whole: that costs no more, and leaves nothing to be assumed about what stands in them.
pub(super) const EDITED_FROM: usize = 50;

/// To delete a rule iptables looks for it among all the others. Beyond one in so many the whole chain is cheaper.
const RULES_PER_REMOVAL: usize = 20;

/// Rules to take out of a chain and to put at its head, each as `CHAIN …`, without the command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edit<'a> {
    pub(super) remove: Vec<&'a str>,
    pub(super) insert: Vec<&'a str>,
}

/// The edit that leads from one body of a chain that service ports share to another; none where the chain is better written whole.
pub(super) fn edit<'a>(old: &'a str, new: &'a str) -> Option<Edit<'a>> {
    let (old, new): (Vec<_>, Vec<_>) = (rules(old).collect(), rules(new).collect());
    if old.len() < EDITED_FROM {
        return None;
    }
    let remove = without(&old, &new);
    let insert = without(&new, &old);
    if remove.is_empty() && insert.is_empty() {
        // Only the order is another, and that is for the rule set to say.
        return None;
    }
    let cheap = remove.len() * RULES_PER_REMOVAL <= old.len();
    (cheap && may_stand_anywhere(&insert, &new)).then_some(Edit { remove, insert })
}

/// How many rules a body has.
pub(super) fn amount(body: &str) -> usize {
    rules(body).count()
}

fn rules(body: &str) -> impl Iterator<Item = &str> {
    body.lines().filter_map(|line| line.strip_prefix("-A "))
}

/// The rules that are not among others. One that stands twice counts twice.
fn without<'a>(rules: &[&'a str], others: &[&str]) -> Vec<&'a str> {
    let mut left = counted(others.iter().copied());
    let is_new = |rule: &&&str| match left.get_mut(**rule) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    rules.iter().filter(is_new).copied().collect()
}

/// Whether no other rule of the chain matches what one of these matches.
fn may_stand_anywhere(inserted: &[&str], all: &[&str]) -> bool {
    let rules_for = counted(all.iter().filter_map(|rule| packets(rule)));
    inserted
        .iter()
        .all(|rule| packets(rule).is_some_and(|packets| rules_for[packets] == 1))
}

/// What a rule matches, without its comment. Nothing for a rule that names no port: others may match the same packets.
fn packets(rule: &str) -> Option<&str> {
    let (_, after_comment) = rule.rsplit_once("\" ")?;
    let (matches, _) = after_comment.split_once(" -j ")?;
    matches.contains(" --dport ").then_some(matches)
}

fn counted<'a>(items: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str =
        "KUBE-SERVICES -m comment --comment \"last\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS";

    fn rule(name: &str, address: &str) -> String {
        format!(
            "KUBE-SERVICES -m comment --comment \"ns/{name} cluster IP\" -m tcp -p tcp -d {address} --dport 80 -j TO-{name}"
        )
    }

    fn body(rules: &[String]) -> String {
        rules
            .iter()
            .map(String::as_str)
            .chain([TAIL])
            .map(|rule| format!("-A {rule}\n"))
            .collect()
    }

    fn services(amount: usize) -> Vec<String> {
        (0..amount)
            .map(|index| rule(&format!("s{index}"), &format!("10.96.1.{index}")))
            .collect()
    }

    #[test]
    fn a_service_that_comes_or_goes_is_one_rule() {
        let few = services(EDITED_FROM);
        let many: Vec<_> = few.iter().cloned().chain([rule("one", "10.96.2.1")]).collect();
        let (few, many) = (body(&few), body(&many));
        let one = rule("one", "10.96.2.1");
        let (remove, insert) = (Vec::new(), vec![one.as_str()]);
        assert_eq!(edit(&few, &many), Some(Edit { remove, insert }));
        let (remove, insert) = (vec![one.as_str()], Vec::new());
        assert_eq!(edit(&many, &few), Some(Edit { remove, insert }));
        assert_eq!(edit(&few, &few), None);
        assert_eq!(amount(&few), EDITED_FROM + 1);
    }

    #[test]
    fn a_service_that_leads_elsewhere_is_one_rule_for_another() {
        let old = services(EDITED_FROM);
        let mut new = old.clone();
        new[3] = new[3].replace("-j TO-s3", "-j ELSEWHERE");
        let edit = edit(&body(&old), &body(&new)).map(|edit| (edit.remove.len(), edit.insert.len()));
        assert_eq!(edit, Some((1, 1)));
    }

    #[test]
    fn rules_for_the_same_packets_keep_their_order() {
        let old = services(EDITED_FROM);
        let both: Vec<_> = old.iter().cloned().chain([rule("rival", "10.96.1.7")]).collect();
        assert_eq!(edit(&body(&old), &body(&both)), None, "it would stand before s7");
        assert!(edit(&body(&both), &body(&old)).is_some(), "one of them may go");
        let two = [rule("a", "10.96.2.1"), rule("b", "10.96.2.1")];
        let two: Vec<_> = old.iter().cloned().chain(two).collect();
        assert_eq!(edit(&body(&old), &body(&two)), None, "two that come together");
        let twice: Vec<_> = old.iter().cloned().chain([old[7].clone()]).collect();
        assert_eq!(edit(&body(&old), &body(&twice)), None, "the same once more");
        assert_eq!(
            edit(&body(&twice), &body(&old)).unwrap().remove,
            [old[7].as_str()]
        );
    }

    #[test]
    fn what_must_be_last_is_not_put_first() {
        let old: String = services(EDITED_FROM)
            .iter()
            .map(|rule| format!("-A {rule}\n"))
            .collect();
        assert_eq!(edit(&old, &body(&services(EDITED_FROM))), None);
    }

    #[test]
    fn short_chains_and_many_removals_are_written_whole() {
        let short = services(EDITED_FROM - 2);
        assert_eq!(edit(&body(&short), &body(&services(EDITED_FROM))), None);
        let long = body(&services(200));
        assert!(edit(&long, &body(&services(190))).is_some());
        assert_eq!(edit(&long, &body(&services(189))), None);
    }
}
