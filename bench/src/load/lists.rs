//! Lists of many pods: whole, by page, by label, as JSON and as protobuf.

use super::read::{self, Listed};
use super::{Named, Scale, pods, share_out, timed};
use crate::cluster::{Call, JSON, PROTOBUF};
use crate::side::Target;
use anyhow::ensure;
use std::time::Duration;
use tokio::time::Instant;

/// The namespace that the pods are in; informers use it as well.
pub(super) const NAMESPACE: &str = "coracle-bench-lists";
pub(super) const PODS: usize = 10_000;
const PAGE: usize = 500;

/// How often a whole list is asked for.
const WHOLE: usize = 10;
/// How often the pods with one label are.
const LABELLED: usize = 200;

pub(super) async fn run(target: &Target, scale: Scale) -> anyhow::Result<Vec<Named>> {
    let amount = scale.of(PODS);
    pods::fill(target, NAMESPACE, amount).await?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let mut samples = Vec::new();
    for (form, format) in [(JSON, "JSON"), (PROTOBUF, "protobuf")] {
        let whole = share_out(1, scale.of(WHOLE), |_| list(target, path.clone(), form, amount));
        let whole = target.observe(whole).await?;
        samples.push((format!("list {amount} pods, {format}"), whole));
        let paged = target.observe(pages(target, &path, form, amount)).await?;
        samples.push((format!("list {amount} pods by pages of {PAGE}, {format}"), paged));
    }
    let each = amount / 100;
    let labelled = share_out(1, scale.of(LABELLED), |number| {
        let path = format!("{path}?labelSelector=group%3Dgroup-{}", number % 100);
        list(target, path, JSON, each)
    });
    if each > 0 {
        let labelled = target.observe(labelled).await?;
        samples.push((format!("list {each} of {amount} pods by label, JSON"), labelled));
    }
    Ok(samples)
}

async fn list(
    target: &Target,
    path: String,
    form: &'static str,
    expected: usize,
) -> anyhow::Result<Duration> {
    let call = Call::get(path).accept(form);
    let (answer, took) = timed(call.succeed(&target.client)).await?;
    let listed = read_list(&answer, form)?;
    ensure!(
        listed.items == expected && listed.rest.is_none() && !listed.revision.is_empty(),
        "{expected} items were expected, not {listed:?}"
    );
    Ok(took)
}

/// The whole list, page by page; answers how long each page took.
async fn pages(
    target: &Target,
    path: &str,
    form: &'static str,
    expected: usize,
) -> anyhow::Result<Vec<Duration>> {
    let (mut times, mut seen, mut rest) = (Vec::new(), 0, String::new());
    loop {
        let call = Call::get(format!("{path}?limit={PAGE}{rest}")).accept(form);
        let started = Instant::now();
        let answer = call.succeed(&target.client).await?;
        times.push(started.elapsed());
        let listed = read_list(&answer, form)?;
        seen += listed.items;
        ensure!(listed.items <= PAGE, "a page has {} items", listed.items);
        match listed.rest {
            Some(token) => rest = format!("&continue={}", escape(&token)),
            None => break,
        }
    }
    ensure!(
        seen == expected,
        "{expected} items were expected on all pages, not {seen}"
    );
    Ok(times)
}

fn read_list(answer: &[u8], form: &str) -> anyhow::Result<Listed> {
    if form == PROTOBUF {
        read::protobuf_list(answer)
    } else {
        read::json_list(answer)
    }
}

/// A token is in base64, whose signs mean something in a query.
fn escape(token: &str) -> String {
    token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}
