//! A program over kube-rs: watchers, a controller with finalizers, server-side apply, streams into containers, leases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coracle_e2e::cluster::Cluster;
use coracle_e2e::unique;
use coracle_e2e::wait::DEADLINE;
use futures::{AsyncBufReadExt, FutureExt, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use kube::api::{
    Api, AttachParams, DeleteParams, DynamicObject, EvictParams, GroupVersionKind, ListParams, LogParams,
    Patch, PatchParams, PostParams, PropagationPolicy,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event as Told, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{Controller, WatchStreamExt, reflector, watcher};
use kube::{Client, Config, Discovery, Resource, ResourceExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn programs_of_kube_rs_work() -> Result<()> {
    let mut cluster = Cluster::new()?;
    cluster.up().await?;
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let namespace = format!("kube-rs-{}", unique());
    let named = Namespace {
        metadata: kube::core::ObjectMeta {
            name: Some(namespace.clone()),
            ..Default::default()
        },
        ..Default::default()
    };
    Api::all(client.clone())
        .create(&PostParams::default(), &named)
        .await?;
    let world = World { client, namespace };
    let (watched, controlled, applied, reached, led) = tokio::join!(
        world.what_changes_is_watched(),
        world.a_controller_finalizes(),
        world.managers_share_by_apply(),
        world.containers_are_reached(),
        world.a_lease_has_one_holder(),
    );
    watched.context("watcher")?;
    controlled.context("controller")?;
    applied.context("apply")?;
    reached.context("streams")?;
    led.context("leases")?;
    cluster.down().await
}

struct World {
    client: Client,
    namespace: String,
}

impl World {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn map(&self, name: &str, set: &str) -> Result<ConfigMap> {
        let map = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"set": set}},
            "data": {"word": name},
        }))?;
        Ok(self.api().create(&PostParams::default(), &map).await?)
    }

    /// By lists and pages, by streamed lists, and by heads alone: each keeps the same.
    async fn what_changes_is_watched(&self) -> Result<()> {
        let maps: Api<ConfigMap> = self.api();
        for i in 0..7 {
            self.map(&format!("watched-{i}"), "watched").await?;
        }
        let config = watcher::Config::default().labels("set=watched");
        let (paged, paged_writer) = reflector::store();
        let (streamed, streamed_writer) = reflector::store();
        let mut by_page = reflector(paged_writer, watcher(maps.clone(), config.clone().page_size(3)))
            .default_backoff()
            .touched_objects()
            .boxed();
        let mut by_stream = reflector(
            streamed_writer,
            watcher(maps.clone(), config.clone().streaming_lists()),
        )
        .default_backoff()
        .touched_objects()
        .boxed();
        let heads: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut heads = watcher(heads, config).touched_objects().boxed();
        let seen = async |stream: &mut futures::stream::BoxStream<'_, _>| -> Result<ConfigMap> {
            let next: Option<Result<ConfigMap, watcher::Error>> = stream.next().await;
            Ok(next.context("the stream ends")??)
        };
        for _ in 0..7 {
            seen(&mut by_page).await?;
            seen(&mut by_stream).await?;
            heads.try_next().await?.context("the stream ends")?;
        }
        let patch = json!({"data": {"word": "changed"}});
        maps.patch("watched-3", &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        maps.delete("watched-4", &DeleteParams::default()).await?;
        for stream in [&mut by_page, &mut by_stream] {
            let changed = seen(stream).await?;
            ensure!(changed.name_any() == "watched-3", "{changed:?}");
            let deleted = seen(stream).await?;
            ensure!(deleted.name_any() == "watched-4", "{deleted:?}");
        }
        let word = streamed
            .find(|map| map.name_any() == "watched-3")
            .and_then(|map| map.data.clone()?.remove("word"));
        ensure!(word.as_deref() == Some("changed") && paged.len() == 6, "{word:?}");
        let first = maps
            .list(&ListParams::default().labels("set=watched").limit(4))
            .await?;
        let next = first.metadata.continue_.context("there is more")?;
        let rest = maps
            .list(
                &ListParams::default()
                    .labels("set=watched")
                    .limit(4)
                    .continue_token(&next),
            )
            .await?;
        ensure!(first.items.len() + rest.items.len() == 6, "two pages");
        Ok(())
    }

    /// Every ConfigMap of a set has a Secret, and says farewell when it goes.
    async fn a_controller_finalizes(&self) -> Result<()> {
        let maps: Api<ConfigMap> = self.api();
        let secrets: Api<Secret> = self.api();
        let config = watcher::Config::default().labels("set=controlled");
        let context = Arc::new(Keeper {
            client: self.client.clone(),
            namespace: self.namespace.clone(),
        });
        let controller = Controller::new(maps.clone(), config)
            .owns(secrets.clone(), watcher::Config::default())
            .run(
                keep,
                |_, _, _| Action::requeue(Duration::from_millis(200)),
                context,
            )
            .for_each(|_| futures::future::ready(()));
        let life = async {
            self.map("controlled", "controlled").await?;
            let created = conditions::is_created::<Secret>();
            let made =
                tokio::time::timeout(DEADLINE, await_condition(secrets.clone(), "controlled", created))
                    .await??;
            let first = made.and_then(|secret| secret.uid()).context("it is made")?;
            secrets.delete("controlled", &DeleteParams::default()).await?;
            let again = |secret: Option<&Secret>| {
                secret.is_some_and(|secret| secret.uid().is_some_and(|uid| uid != first))
            };
            tokio::time::timeout(DEADLINE, await_condition(secrets.clone(), "controlled", again)).await??;
            let finalized = maps.get("controlled").await?;
            ensure!(
                finalized.finalizers() == ["example.test/farewell"],
                "{finalized:?}"
            );
            let uid = finalized.uid().context("a uid")?;
            maps.delete("controlled", &DeleteParams::default()).await?;
            let gone = await_condition(maps.clone(), "controlled", conditions::is_deleted(&uid));
            tokio::time::timeout(DEADLINE, gone).await??;
            let farewell = maps.get("controlled-farewell").await?;
            ensure!(farewell.data.is_some(), "it said farewell");
            let events: Api<k8s_openapi::api::events::v1::Event> = self.api();
            let told = events.list(&ListParams::default().fields("reason=Kept")).await?;
            ensure!(!told.items.is_empty(), "an event tells of it");
            Ok(())
        };
        tokio::select! {
            () = controller => anyhow::bail!("the controller ends"),
            lived = life => lived,
        }
    }

    async fn managers_share_by_apply(&self) -> Result<()> {
        let deployments: Api<Deployment> = self.api();
        let ours = PatchParams::apply("ours");
        deployments
            .patch("applied", &ours, &Patch::Apply(&deployment()))
            .await?;
        let completed = conditions::is_deployment_completed();
        tokio::time::timeout(
            DEADLINE,
            await_condition(deployments.clone(), "applied", completed),
        )
        .await??;
        let replicas = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 2}});
        let theirs = PatchParams::apply("theirs");
        let refused = deployments
            .patch("applied", &theirs, &Patch::Apply(&replicas))
            .await;
        let Err(kube::Error::Api(status)) = refused else {
            anyhow::bail!("two managers want different counts: {refused:?}")
        };
        let causes = status.details.as_ref().map(|details| details.causes.clone());
        ensure!(
            status.code == 409
                && causes
                    .iter()
                    .flatten()
                    .any(|cause| cause.field == ".spec.replicas"),
            "{status:?}"
        );
        let dry = deployments
            .patch("applied", &theirs.force().dry_run(), &Patch::Apply(&replicas))
            .await?;
        ensure!(
            dry.spec.and_then(|spec| spec.replicas) == Some(2),
            "a dry run tells what would be"
        );
        self.what_was_applied_is_scaled_and_deleted(&deployments).await?;
        self.kinds_are_discovered(&ours).await
    }

    async fn what_was_applied_is_scaled_and_deleted(&self, deployments: &Api<Deployment>) -> Result<()> {
        let scale = deployments.get_scale("applied").await?;
        ensure!(
            scale.spec.and_then(|spec| spec.replicas) == Some(1),
            "a dry run does nothing"
        );
        let two = json!({"spec": {"replicas": 2}});
        deployments
            .patch_scale("applied", &PatchParams::default(), &Patch::Merge(&two))
            .await?;
        let mut old = deployments.get("applied").await?;
        old.metadata.resource_version = Some("1".to_owned());
        let refused = deployments.replace("applied", &PostParams::default(), &old).await;
        ensure!(
            matches!(&refused, Err(kube::Error::Api(status)) if status.code == 409),
            "{refused:?}"
        );
        deployments.restart("applied").await?;
        let foreground = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            ..DeleteParams::default()
        };
        let uid = old.uid().context("a uid")?;
        deployments.delete("applied", &foreground).await?;
        let gone = await_condition(deployments.clone(), "applied", conditions::is_deleted(&uid));
        tokio::time::timeout(DEADLINE, gone).await??;
        Ok(())
    }

    /// Kinds that the program has no types for.
    async fn kinds_are_discovered(&self, params: &PatchParams) -> Result<()> {
        let discovery = Discovery::new(self.client.clone()).run_aggregated().await?;
        let kind = GroupVersionKind::gvk("networking.k8s.io", "v1", "Ingress");
        let (resource, _) = discovery.resolve_gvk(&kind).context("ingresses are discovered")?;
        let ingresses: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let site = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "site"},
            "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
        });
        ingresses.patch("site", params, &Patch::Apply(&site)).await?;
        ensure!(
            ingresses.list(&ListParams::default()).await?.items.len() == 1,
            "it is listed"
        );
        Ok(())
    }

    async fn containers_are_reached(&self) -> Result<()> {
        let pods: Api<Pod> = self.api();
        let pod = |name: &str, argument: &str| {
            serde_json::from_value(json!({
                "metadata": {"name": name},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "hello", "image": "coracle.dev/hello:1", "args": [argument], "stdin": true, "stdinOnce": true}],
                },
            }))
        };
        for (name, argument) in [("page", "serve"), ("echo", "cat")] {
            pods.create(&PostParams::default(), &pod(name, argument)?).await?;
            let running = conditions::is_pod_running();
            tokio::time::timeout(DEADLINE, await_condition(pods.clone(), name, running)).await??;
        }
        executed(&pods).await.context("exec")?;
        attached(&pods).await.context("attach")?;
        let mut lines = pods
            .log_stream(
                "page",
                &LogParams {
                    follow: true,
                    ..LogParams::default()
                },
            )
            .await?
            .lines();
        let first = tokio::time::timeout(DEADLINE, lines.try_next()).await??;
        ensure!(
            first.is_some_and(|line| line.contains("listens on")),
            "the log begins"
        );
        forwarded(&pods).await.context("port-forward")?;
        let next = tokio::time::timeout(DEADLINE, lines.try_next()).await??;
        ensure!(next.as_deref() == Some("/ 200 OK"), "the log goes on: {next:?}");
        pods.evict("page", &EvictParams::default()).await?;
        pods.delete("echo", &DeleteParams::default()).await?;
        let rest = tokio::time::timeout(DEADLINE, lines.try_collect::<Vec<_>>()).await?;
        ensure!(rest.is_ok(), "the log ends with its container: {rest:?}");
        Ok(())
    }

    /// Whoever writes a lease first against what both have read has it.
    async fn a_lease_has_one_holder(&self) -> Result<()> {
        let leases: Api<Lease> = self.api();
        let lease = serde_json::from_value(json!({
            "metadata": {"name": "throne"},
            "spec": {"holderIdentity": "nobody", "leaseDurationSeconds": 15, "renewTime": "2026-01-02T03:04:05.678901Z"},
        }))?;
        let made = leases.create(&PostParams::default(), &lease).await?;
        let claim = async |who: &str| {
            let mut mine = made.clone();
            if let Some(spec) = &mut mine.spec {
                spec.holder_identity = Some(who.to_owned());
            }
            leases.replace("throne", &PostParams::default(), &mine).await
        };
        let claims = tokio::join!(claim("first"), claim("second"), claim("third"));
        let claims = [claims.0, claims.1, claims.2];
        let won: Vec<_> = claims.iter().filter_map(|claim| claim.as_ref().ok()).collect();
        let lost = claims
            .iter()
            .filter(|claim| matches!(claim, Err(kube::Error::Api(status)) if status.code == 409));
        ensure!(won.len() == 1 && lost.count() == 2, "{claims:?}");
        let read = leases.get("throne").await?;
        ensure!(read == *won[0], "the winner's is kept: {read:?}");
        Ok(())
    }
}

fn deployment() -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "applied"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "applied"}},
            "template": {
                "metadata": {"labels": {"app": "applied"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "hello", "image": "coracle.dev/hello:1", "args": ["serve"]}],
                },
            },
        },
    })
}

/// What the controller acts with.
struct Keeper {
    client: Client,
    namespace: String,
}

type KeepError = kube::runtime::finalizer::Error<kube::Error>;

async fn keep(map: Arc<ConfigMap>, keeper: Arc<Keeper>) -> Result<Action, KeepError> {
    let maps: Api<ConfigMap> = Api::namespaced(keeper.client.clone(), &keeper.namespace);
    finalizer(&maps, "example.test/farewell", map, |event| async {
        match event {
            Event::Apply(map) => keeper.kept(&map).boxed().await,
            Event::Cleanup(map) => keeper.farewell(&map).boxed().await,
        }
    })
    .await
}

impl Keeper {
    async fn kept(&self, map: &ConfigMap) -> Result<Action, kube::Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": map.name_any(), "ownerReferences": [map.controller_owner_ref(&())]},
            "stringData": map.data.clone().unwrap_or_default(),
        });
        let params = PatchParams::apply("keeper").force();
        secrets
            .patch(&map.name_any(), &params, &Patch::Apply(&secret))
            .await?;
        let recorder = Recorder::new(self.client.clone(), Reporter::from("keeper"));
        let event = Told {
            type_: EventType::Normal,
            reason: "Kept".to_owned(),
            note: Some("a secret is kept".to_owned()),
            action: "Keeping".to_owned(),
            secondary: None,
        };
        recorder.publish(&event, &map.object_ref(&())).await?;
        Ok(Action::await_change())
    }

    async fn farewell(&self, map: &ConfigMap) -> Result<Action, kube::Error> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let farewell = ConfigMap {
            metadata: kube::core::ObjectMeta {
                name: Some(format!("{}-farewell", map.name_any())),
                ..Default::default()
            },
            data: Some(BTreeMap::from([("said".to_owned(), "farewell".to_owned())])),
            ..ConfigMap::default()
        };
        match maps.create(&PostParams::default(), &farewell).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => other.map(drop)?,
        }
        Ok(Action::await_change())
    }
}

async fn executed(pods: &Api<Pod>) -> Result<()> {
    let params = AttachParams::default().stdin(true).stdout(true).stderr(true);
    let mut process = pods.exec("page", ["hello", "cat"], &params).await?;
    let (mut stdin, mut stdout) = (
        process.stdin().context("input")?,
        process.stdout().context("output")?,
    );
    stdin.write_all(b"there and back\n").await?;
    let mut said = [0; 15];
    tokio::time::timeout(DEADLINE, stdout.read_exact(&mut said)).await??;
    ensure!(&said == b"there and back\n", "{said:?}");
    drop(stdin);
    process.abort();
    let params = AttachParams::default().stdout(true).stderr(true);
    let mut failing = pods.exec("page", ["hello", "fail", "7"], &params).await?;
    let status = failing.take_status().context("a status")?;
    let status = tokio::time::timeout(DEADLINE, status)
        .await?
        .context("it is told")?;
    let causes = status
        .details
        .and_then(|details| details.causes)
        .unwrap_or_default();
    ensure!(
        status.reason.as_deref() == Some("NonZeroExitCode")
            && causes.iter().any(|cause| cause.message.as_deref() == Some("7")),
        "the exit code is told: {causes:?}"
    );
    Ok(())
}

async fn attached(pods: &Api<Pod>) -> Result<()> {
    let params = AttachParams::default().stdin(true).stdout(true).stderr(false);
    let mut process = pods.attach("echo", &params).await?;
    let (mut stdin, mut stdout) = (
        process.stdin().context("input")?,
        process.stdout().context("output")?,
    );
    stdin.write_all(b"words\n").await?;
    let mut said = [0; 6];
    tokio::time::timeout(DEADLINE, stdout.read_exact(&mut said)).await??;
    ensure!(&said == b"words\n", "{said:?}");
    Ok(())
}

async fn forwarded(pods: &Api<Pod>) -> Result<()> {
    let mut forwarder = pods.portforward("page", &[8080]).await?;
    let mut stream = forwarder.take_stream(8080).context("a stream")?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: page\r\nConnection: close\r\n\r\n")
        .await?;
    let mut page = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut page)).await??;
    ensure!(page.contains("Hello from Coracle!"), "{page}");
    drop(stream);
    forwarder.abort();
    Ok(())
}
