//! The Deployment controller: rolls a template out over ReplicaSets.
//!
//! [`plan`] decides one step; this shell does it and tells what it did. ReplicaSets are changed by patches that hold to the
//! observed resourceVersion, so two steps can never be taken from one state.

mod facts;
pub(crate) mod plan;
mod revisions;
mod scaling;
mod status;

use crate::Clock;
use crate::observed::Pod;
use crate::owners::{controller_of, controller_reference, is_controlled_by};
use crate::run::{Context, Informers};
use crate::runtime::events::reference;
use crate::runtime::worker::until;
use crate::runtime::write::{self, Part};
use crate::runtime::{Cache, Change as Seen, Note, ObjectKey, Queue, Reconcile, ReconcileError, Recorder};
use crate::target::Target;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use plan::{Change, Observed, Plan};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Deployments {
    client: kube::Client,
    clock: Clock,
    deployments: Arc<Cache<Deployment>>,
    sets: Arc<Cache<ReplicaSet>>,
    pods: Arc<Cache<Pod>>,
    recorder: Recorder,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<Deployments>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers
        .deployments
        .subscribe(move |change| own.add(ObjectKey::of(&change.object().metadata)));
    let (own, deployments) = (queue.clone(), informers.deployments.cache().clone());
    informers
        .replica_sets
        .subscribe(move |change| enqueue_for_set(&own, &deployments, change));
    let (own, sets) = (queue.clone(), informers.replica_sets.cache().clone());
    informers
        .pods
        .subscribe(move |change| enqueue_for_pod(&own, &sets, change));
    let controller = Deployments {
        client: context.client.clone(),
        clock: context.config.clock,
        deployments: informers.deployments.cache().clone(),
        sets: informers.replica_sets.cache().clone(),
        pods: informers.pods.cache().clone(),
        recorder: context.recorder.clone(),
    };
    (Arc::new(controller), queue)
}

fn enqueue_for_set(queue: &Queue<ObjectKey>, deployments: &Cache<Deployment>, change: &Seen<'_, ReplicaSet>) {
    let set = change.object();
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    for set in [Some(set), change.old()].into_iter().flatten() {
        if let Some(owner) = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment") {
            queue.add(ObjectKey::new(namespace, &owner.name));
        }
    }
    if controller_of(&set.metadata).is_some() || matches!(change, Seen::Deleted(_)) {
        return;
    }
    for deployment in deployments.in_namespace(namespace) {
        let selector = deployment
            .spec
            .as_ref()
            .and_then(|spec| crate::labels::compile(&spec.selector));
        if selector.is_some_and(|selector| crate::labels::matches(&selector, set.metadata.labels.as_ref())) {
            queue.add(ObjectKey::of(&deployment.metadata));
        }
    }
}

/// Only the end of a pod concerns a Deployment: a Recreate waits for it.
fn enqueue_for_pod(queue: &Queue<ObjectKey>, sets: &Cache<ReplicaSet>, change: &Seen<'_, Pod>) {
    let pod = change.object();
    if !matches!(change, Seen::Deleted(_)) && !crate::workloads::pods::is_finished(pod) {
        return;
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let Some(owner) = controller_of(&pod.metadata) else {
        return;
    };
    let Some(set) = sets.get(&ObjectKey::new(namespace, &owner.name)) else {
        return;
    };
    if let Some(owner) = controller_of(&set.metadata) {
        queue.add(ObjectKey::new(namespace, &owner.name));
    }
}

impl Reconcile for Deployments {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(deployment) = self.deployments.get(key) else {
            return Ok(None);
        };
        let (sets, pods) = self.observe(&deployment);
        let observed = Observed {
            deployment: &deployment,
            replica_sets: &sets,
            pods: &pods,
        };
        let now = self.clock.now();
        let plan = plan::plan(&observed, now);
        if plan.selects_all {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.note(&deployment, Note::warning("SelectingAll", message.to_owned()));
        }
        self.act(&observed, &plan, now).await?;
        Ok(plan.look_again.map(|at| until(now, at)))
    }
}

impl Deployments {
    fn observe(&self, deployment: &Deployment) -> (Vec<Arc<ReplicaSet>>, Vec<Arc<Pod>>) {
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let mut sets = self.sets.by_term(&format!("owner/{uid}"));
        let uids = sets.iter().filter_map(|set| set.metadata.uid.as_deref());
        let pods = uids
            .flat_map(|uid| self.pods.by_term(&format!("owner/{uid}")))
            .collect();
        sets.extend(self.sets.by_term(&format!("orphan/{namespace}")));
        (sets, pods)
    }

    fn sets_of(&self, deployment: &Deployment) -> Api<ReplicaSet> {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn act(&self, observed: &Observed<'_>, plan: &Plan, now: Timestamp) -> Result<(), ReconcileError> {
        let deployment = observed.deployment;
        let api = self.sets_of(deployment);
        self.adopt_and_release(&api, deployment, plan).await?;
        if let Some(set) = &plan.create {
            self.create(&api, observed, set, now).await?;
        }
        for change in &plan.change {
            self.change(&api, deployment, change).await?;
        }
        for set in &plan.delete {
            let target = Target::of(&set.metadata);
            let deleted = write::delete(&api, &target, None).await;
            let doing = || format!("deleting replica set {}", target.name);
            let version = deleted.map_err(|error| ReconcileError::request(doing())(error))?;
            self.sets.shows(self.sets.mark(version.as_deref())).await;
        }
        self.tell(deployment, plan).await
    }

    /// Writes the revision and the status, the second onto what the first left.
    async fn tell(&self, deployment: &Deployment, plan: &Plan) -> Result<(), ReconcileError> {
        let mut target = Target::of(&deployment.metadata);
        if let Some(revision) = &plan.revision {
            let changed = self.update(&target, Part::Main, |object| {
                let annotations = object.metadata.annotations.get_or_insert_default();
                annotations.insert(facts::REVISION.to_owned(), revision.clone());
            });
            match changed.await? {
                Some(version) => target.resource_version = version,
                None => return Ok(()),
            }
        }
        if let Some(status) = &plan.status {
            self.update(&target, Part::Status, |object| {
                object.data["status"] = json!(status)
            })
            .await?;
        }
        Ok(())
    }

    /// Updates the Deployment and waits until the cache shows it. None where it is gone.
    async fn update(
        &self,
        target: &Target,
        part: Part,
        change: impl FnOnce(&mut DynamicObject),
    ) -> Result<Option<String>, ReconcileError> {
        let resource = ApiResource::erase::<Deployment>(&());
        let api = Api::namespaced_with(self.client.clone(), &target.namespace, &resource);
        let version = match write::update(&api, target, part, change).await {
            Ok(written) => written.metadata.resource_version.unwrap_or_default(),
            Err(error) if error.is_gone() => return Ok(None),
            Err(error) => return Err(error),
        };
        self.deployments
            .shows(self.deployments.mark(Some(&version)))
            .await;
        Ok(Some(version))
    }

    async fn adopt_and_release(
        &self,
        api: &Api<ReplicaSet>,
        deployment: &Deployment,
        plan: &Plan,
    ) -> Result<(), ReconcileError> {
        if !plan.adopt.is_empty() {
            let target = Target::of(&deployment.metadata);
            let own: Api<Deployment> = Api::namespaced(self.client.clone(), &target.namespace);
            if !write::is_still_there(&own, &target).await? {
                return Err(ReconcileError::Stale(target.name));
            }
        }
        for set in &plan.adopt {
            let mut owners = set.metadata.owner_references.clone().unwrap_or_default();
            owners.push(controller_reference(
                "apps/v1",
                "Deployment",
                &deployment.metadata,
            ));
            self.patch(api, set, json!({"metadata": {"ownerReferences": owners}}))
                .await?;
        }
        for set in &plan.release {
            let mut owners = set.metadata.owner_references.clone().unwrap_or_default();
            owners.retain(|owner| Some(&owner.uid) != deployment.metadata.uid.as_ref());
            self.patch(api, set, json!({"metadata": {"ownerReferences": owners}}))
                .await?;
        }
        Ok(())
    }

    async fn change(
        &self,
        api: &Api<ReplicaSet>,
        deployment: &Deployment,
        change: &Change,
    ) -> Result<(), ReconcileError> {
        let mut body = json!({"metadata": {"annotations": change.annotations}});
        if let Some(replicas) = change.replicas {
            body["spec"]["replicas"] = json!(replicas);
        }
        if let Some(seconds) = change.min_ready_seconds {
            body["spec"]["minReadySeconds"] = json!(seconds);
        }
        self.patch(api, &change.set, body).await?;
        if let Some(replicas) = change.replicas {
            self.note_scaled(
                deployment,
                &change.set,
                facts::spec_replicas(&change.set),
                replicas,
            );
        }
        Ok(())
    }

    async fn patch(
        &self,
        api: &Api<ReplicaSet>,
        set: &ReplicaSet,
        body: Value,
    ) -> Result<(), ReconcileError> {
        let target = Target::of(&set.metadata);
        let patched = write::patch(api, &target, body).await;
        let set = patched.map_err(ReconcileError::request(format!(
            "changing replica set {}",
            target.name
        )))?;
        self.sets
            .shows(self.sets.mark(set.metadata.resource_version.as_deref()))
            .await;
        Ok(())
    }

    async fn create(
        &self,
        api: &Api<ReplicaSet>,
        observed: &Observed<'_>,
        set: &ReplicaSet,
        now: Timestamp,
    ) -> Result<(), ReconcileError> {
        let error = match api.create(&PostParams::default(), set).await {
            Ok(created) => {
                let size = facts::spec_replicas(set);
                if size > 0 {
                    self.note_scaled(observed.deployment, set, 0, size);
                }
                self.sets
                    .shows(self.sets.mark(created.metadata.resource_version.as_deref()))
                    .await;
                return Ok(());
            }
            Err(error) => error,
        };
        if write::is_conflict(&error) {
            return self.taken(api, observed.deployment, set).await;
        }
        let name = set.metadata.name.as_deref().unwrap_or_default();
        if !write::is_namespace_terminating(&error) {
            let message = write::api_message(&error);
            let note = format!("Failed to create new replica set \"{name}\": {message}");
            self.note(observed.deployment, Note::warning("ReplicaSetCreateError", note));
            let status = plan::failed_create(observed, name, &message, now);
            self.write_status(observed.deployment, status).await?;
        }
        Err(ReconcileError::request(format!("creating replica set {name}"))(
            error,
        ))
    }

    /// The new ReplicaSet's name is taken: by itself, seen late, or by another template of the same hash, which is then
    /// hashed apart.
    async fn taken(
        &self,
        api: &Api<ReplicaSet>,
        deployment: &Deployment,
        set: &ReplicaSet,
    ) -> Result<(), ReconcileError> {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let found = api
            .get(name)
            .await
            .map_err(ReconcileError::request(format!("reading replica set {name}")))?;
        let template = found.spec.as_ref().and_then(|spec| spec.template.as_ref());
        let ours = is_controlled_by(
            &found.metadata,
            deployment.metadata.uid.as_deref().unwrap_or_default(),
        );
        if ours && facts::same_template(template, &revisions::template(deployment)) {
            self.sets
                .shows(self.sets.mark(found.metadata.resource_version.as_deref()))
                .await;
            return Err(ReconcileError::Stale(format!("replica set {name}")));
        }
        let mut status = deployment.status.clone().unwrap_or_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
        self.write_status(deployment, status).await?;
        Err(ReconcileError::Stale(format!("replica set {name}")))
    }

    async fn write_status(
        &self,
        deployment: &Deployment,
        status: DeploymentStatus,
    ) -> Result<(), ReconcileError> {
        let target = Target::of(&deployment.metadata);
        self.update(&target, Part::Status, |object| {
            object.data["status"] = json!(status)
        })
        .await
        .map(drop)
    }

    fn note_scaled(&self, deployment: &Deployment, set: &ReplicaSet, from: i32, to: i32) {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let way = if to > from { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {name} from {from} to {to}");
        self.note(deployment, Note::normal("ScalingReplicaSet", message));
    }

    fn note(&self, deployment: &Deployment, note: Note) {
        self.recorder
            .record(&reference("apps/v1", "Deployment", &deployment.metadata), note);
    }
}
