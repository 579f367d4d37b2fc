//! Side by side: the same work for Coracle and for its peer, in turn, pair by pair. Each pair begins with both sides anew.

mod table;

use crate::facts;
use crate::load::{self, Group, Named, Sample, Scale};
use crate::namespace;
use crate::side::{
    CLUSTER_CIDR, ControlPlane, DnsServer, NODE, Peer, PeerPrograms, Program, SERVICE_CIDR, ServiceProxy,
    Target,
};
use anyhow::Context;
use clap::ValueEnum;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use table::Pairs;

/// What was measured against what.
const NOTE: &str = "\
`coracle server` against etcd 3.6.8, kube-apiserver, kube-controller-manager and kube-scheduler 1.36.3, each side started anew
for every pair and alone on the machine with the load generator. Both sync every write before they answer it, serve TLS,
authenticate a static token and ask Node and RBAC. Where the two could differ to the peer's harm, it is given the better of it:
no client-side rate limits, no TLS between kube-apiserver and etcd, and none of the admission plugins that Coracle does not have.
DNS is CoreDNS 1.15.0, with the same API server, Coracle's, behind both. Services are brought into the kernel, each side in a
network namespace of its own, by `coracle proxy` as it comes and by kube-proxy 1.36.3 in iptables mode, which waits for no period
between two restores, with that API server behind both: one is there when one of its endpoints takes a connection to its address.
CPU time there is the proxy's with that of the iptables programs that it runs, memory the proxy's alone. Bodies are JSON unless it
says otherwise; connections are HTTP/1.1, each for one request at a time, unless it says HTTP/2. Boot takes until `/readyz`; its
CPU time is that of all parts until the controllers work.
";

/// What a measurement of some groups has to say of itself.
const PART_NOTE: &str = "\
As side by side, but of some of it alone, and made at another time: by `make bench WHAT=compare` with `--groups` in `ARGS`.
";

#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    #[command(flatten)]
    program: Program,
    #[command(flatten)]
    peer: PeerPrograms,
    /// Measure this cluster alone, whose administrator the kubeconfig is
    #[arg(long, conflicts_with = "peer")]
    kubeconfig: Option<PathBuf>,
    /// The processes of that cluster whose CPU time and memory count
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// How often both sides are measured
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// What is measured; all of it by default
    #[arg(long, value_delimiter = ',')]
    groups: Vec<Group>,
    #[command(flatten)]
    scale: Scale,
}

impl Args {
    fn groups(&self) -> Vec<Group> {
        if self.groups.is_empty() {
            Group::value_variants().to_vec()
        } else {
            self.groups.clone()
        }
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<String> {
    if let Some(kubeconfig) = &args.kubeconfig {
        let target = Target::of(kubeconfig, args.pid.clone()).await?;
        let samples = measure(&target, args).await?;
        return Ok(table::alone(&samples).to_string());
    }
    let mut pairs = Pairs::default();
    for number in 0..args.pairs {
        // Who begins may find the machine warmer or colder.
        let order = if number % 2 == 0 {
            [true, false]
        } else {
            [false, true]
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for is_ours in order {
            let samples = if is_ours { &mut ours } else { &mut theirs };
            if args.groups().iter().any(|group| !group.brings_its_server()) {
                samples.extend(one_side(args, is_ours).await?);
            }
            if args.groups().contains(&Group::Dns) {
                samples.extend(dns(args, is_ours).await?);
            }
            if args.groups().contains(&Group::Services) {
                let args = args.clone();
                let services = namespace::within(CLUSTER_CIDR, SERVICE_CIDR, move || services(args, is_ours));
                samples.extend(services.await.context("Services")?);
            }
        }
        pairs.add(ours, theirs)?;
        say(&format!("pair {} of {} is done", number + 1, args.pairs));
    }
    let tables = pairs.tables(args.pairs).map(|table| table.to_string());
    let machine = facts::describe(&args.program.dir)?;
    let (title, note) = if args.groups.is_empty() {
        ("Side by side", NOTE)
    } else {
        ("Side by side, in part", PART_NOTE)
    };
    Ok(format!("## {title}\n\n{note}\n{machine}\n{}", tables.join("\n")))
}

/// Everything that is measured of one side, which is started anew for it and stopped afterwards.
async fn one_side(args: &Args, ours: bool) -> anyhow::Result<Vec<Named>> {
    let place = tempfile::tempdir_in(&args.program.dir).context("make a directory for the data")?;
    if ours {
        let control_plane = ControlPlane::start(&args.program, &place.path().join("data")).await?;
        let boot = boot(control_plane.start, control_plane.target())?;
        let samples = with_boot(control_plane.target(), args, boot)
            .await
            .context("Coracle")?;
        control_plane.stop().await?;
        return Ok(samples);
    }
    let peer = Peer::start(programs(args), place.path()).await?;
    let boot = boot(peer.start, peer.target())?;
    let measured = with_boot(peer.target(), args, boot).await;
    if measured.is_err() {
        say(&format!(
            "what the peer has written is in {}",
            place.keep().display()
        ));
    }
    let samples = measured.context("the peer")?;
    peer.stop().await?;
    Ok(samples)
}

/// The DNS server of one side. Both read the same API, which Coracle serves.
async fn dns(args: &Args, ours: bool) -> anyhow::Result<Vec<Named>> {
    let place = tempfile::tempdir_in(&args.program.dir).context("make a directory for the data")?;
    let control_plane = ControlPlane::start(&args.program, &place.path().join("data")).await?;
    let known = load::dns::fill(control_plane.target(), args.scale).await?;
    let kubeconfig = &control_plane.kubeconfig;
    let server = if ours {
        DnsServer::ours(&args.program, kubeconfig, place.path()).await?
    } else {
        DnsServer::theirs(programs(args), kubeconfig, place.path()).await?
    };
    let samples = load::dns::run(server.target(), server.address, &known, args.scale).await?;
    say_all(&samples);
    server.stop().await?;
    control_plane.stop().await?;
    Ok(samples)
}

/// The service proxy of one side, in a namespace whose tables are empty. Both read the same API, which Coracle serves.
async fn services(args: Args, ours: bool) -> anyhow::Result<Vec<Named>> {
    let place = tempfile::tempdir_in(&args.program.dir).context("make a directory for the data")?;
    let control_plane = ControlPlane::start(&args.program, &place.path().join("data")).await?;
    let known = load::services::fill(control_plane.target(), NODE, args.scale).await?;
    let kubeconfig = &control_plane.kubeconfig;
    let mut proxy = if ours {
        ServiceProxy::ours(&args.program, kubeconfig, place.path()).await?
    } else {
        ServiceProxy::theirs(programs(&args), kubeconfig, place.path()).await?
    };
    let (target, started) = (proxy.target(), proxy.started);
    let samples = proxy.during(load::services::run(&target, started, &known, args.scale));
    let samples = samples.await?;
    say_all(&samples);
    proxy.stop().await?;
    control_plane.stop().await?;
    Ok(samples)
}

fn programs(args: &Args) -> &Path {
    args.peer.peer.as_deref().unwrap_or(Path::new("."))
}

/// What starting took. CPU and memory are those of all parts once the controllers work.
fn boot(start: Duration, target: &Target) -> anyhow::Result<Sample> {
    Ok(Sample {
        cpu: crate::process::cpu_time_of(&target.pids)?,
        took: start,
        latencies: vec![start],
        peak: crate::process::peak_of(&target.pids)?,
    })
}

async fn with_boot(target: &Target, args: &Args, boot: Sample) -> anyhow::Result<Vec<Named>> {
    let mut samples = Vec::new();
    if args.groups().contains(&Group::Boot) {
        samples.push(("boot, until ready".to_owned(), boot));
    }
    samples.extend(measure(target, args).await?);
    Ok(samples)
}

async fn measure(target: &Target, args: &Args) -> anyhow::Result<Vec<Named>> {
    let mut samples = Vec::new();
    for group in args.groups() {
        let measured = load::run(group, target, args.scale).await;
        let measured = measured.with_context(|| format!("{group:?}"))?;
        say_all(&measured);
        samples.extend(measured);
    }
    Ok(samples)
}

fn say_all(samples: &[Named]) {
    for (name, sample) in samples {
        say(&table::line(name, sample));
    }
}

/// Tells whoever waits; what is the result goes elsewhere.
fn say(text: &str) {
    // Nobody may be reading.
    let _ = writeln!(std::io::stderr(), "{text}");
}
