//! Starts the informers and the chosen controllers, and ends them together.

use crate::clients::{ClientError, ClientFactory};
use crate::config::{Config, ControllerName};
use crate::observed::Pod;
use crate::owners::controller_of;
use crate::runtime::informer::Observable;
use crate::runtime::{Informer, Queue, Reconcile, Recorder, work};
use crate::services::{cidrs, endpoints, endpointslice, mirroring};
use crate::workloads::{cronjob, daemonset, deployment, expiry, job, replicaset, statefulset};
use crate::{certificates, cluster, disruption, garbage, nodes, storage};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, ReplicationController,
    ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttributesClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The controllers could not be started.
#[derive(Debug, Error)]
pub enum RunError {
    /// A controller got no client.
    #[error("could not start controller {controller}")]
    Client {
        /// Which controller, or `shared informers`.
        controller: &'static str,
        /// Why not.
        #[source]
        source: ClientError,
    },
}

/// One informer per kind, shared by all controllers of the process.
pub(crate) struct Informers {
    pub(crate) deployments: Informer<Deployment>,
    pub(crate) replica_sets: Informer<ReplicaSet>,
    pub(crate) replication_controllers: Informer<ReplicationController>,
    pub(crate) stateful_sets: Informer<StatefulSet>,
    pub(crate) daemon_sets: Informer<DaemonSet>,
    pub(crate) controller_revisions: Informer<ControllerRevision>,
    pub(crate) budgets: Informer<PodDisruptionBudget>,
    pub(crate) jobs: Informer<Job>,
    pub(crate) cron_jobs: Informer<CronJob>,
    pub(crate) pods: Informer<Pod>,
    pub(crate) services: Informer<Service>,
    pub(crate) endpoint_slices: Informer<EndpointSlice>,
    pub(crate) endpoints: Informer<Endpoints>,
    pub(crate) service_cidrs: Informer<ServiceCIDR>,
    pub(crate) ip_addresses: Informer<IPAddress>,
    pub(crate) namespaces: Informer<Namespace>,
    pub(crate) service_accounts: Informer<ServiceAccount>,
    /// Only those that hold a token of a ServiceAccount.
    pub(crate) token_secrets: Informer<Secret>,
    /// Only those named `kube-root-ca.crt`.
    pub(crate) root_cas: Informer<ConfigMap>,
    pub(crate) nodes: Informer<Node>,
    /// Only those of nodes.
    pub(crate) node_leases: Informer<Lease>,
    pub(crate) cluster_roles: Informer<ClusterRole>,
    pub(crate) resource_quotas: Informer<ResourceQuota>,
    pub(crate) certificate_requests: Informer<CertificateSigningRequest>,
    pub(crate) claims: Informer<PersistentVolumeClaim>,
    pub(crate) volumes: Informer<PersistentVolume>,
    pub(crate) storage_classes: Informer<StorageClass>,
    pub(crate) attributes_classes: Informer<VolumeAttributesClass>,
    pub(crate) policies: Informer<ValidatingAdmissionPolicy>,
}

impl Informers {
    fn new(client: &kube::Client) -> Self {
        let all = || client.clone();
        Self {
            deployments: Informer::new("deployments", Api::all(all()), |_| Vec::new()),
            replica_sets: Informer::new("replica_sets", Api::all(all()), |set| {
                vec![owner_term(&set.metadata)]
            }),
            replication_controllers: Informer::new("replication_controllers", Api::all(all()), |older| {
                vec![owner_term(&older.metadata)]
            }),
            stateful_sets: Informer::new("stateful_sets", Api::all(all()), |_| Vec::new()),
            controller_revisions: Informer::new("controller_revisions", Api::all(all()), |revision| {
                vec![owner_term(&revision.metadata)]
            }),
            daemon_sets: Informer::new("daemon_sets", Api::all(all()), |_| Vec::new()),
            budgets: Informer::new("budgets", Api::all(all()), |_| Vec::new()),
            jobs: Informer::new("jobs", Api::all(all()), |job| vec![owner_term(&job.metadata)]),
            cron_jobs: Informer::new("cron_jobs", Api::all(all()), |_| Vec::new()),
            pods: Informer::new("pods", Api::all(all()), pod_terms),
            services: Informer::new("services", Api::all(all()), |_| Vec::new()),
            endpoint_slices: Informer::new("endpoint_slices", Api::all(all()), |slice| {
                let mut terms = endpointslice::terms(&slice.metadata);
                terms.extend(mirroring::terms(&slice.metadata));
                terms
            }),
            endpoints: Informer::new("endpoints", Api::all(all()), |_| Vec::new()),
            service_cidrs: Informer::new("service_cidrs", Api::all(all()), |_| Vec::new()),
            ip_addresses: Informer::new("ip_addresses", Api::all(all()), |_| Vec::new()),
            namespaces: Informer::new("namespaces", Api::all(all()), |_| Vec::new()),
            service_accounts: Informer::new("service_accounts", Api::all(all()), |_| Vec::new()),
            token_secrets: Informer::new("token_secrets", Api::all(all()), |_| Vec::new())
                .with_fields("type=kubernetes.io/service-account-token"),
            root_cas: Informer::new("root_cas", Api::all(all()), |_| Vec::new())
                .with_fields("metadata.name=kube-root-ca.crt"),
            nodes: Informer::new("nodes", Api::all(all()), |_| Vec::new()),
            node_leases: Informer::new("node_leases", Api::namespaced(all(), "kube-node-lease"), |_| {
                Vec::new()
            }),
            cluster_roles: Informer::new("cluster_roles", Api::all(all()), |_| Vec::new()),
            resource_quotas: Informer::new("resource_quotas", Api::all(all()), |_| Vec::new()),
            certificate_requests: Informer::new("certificate_requests", Api::all(all()), |_| Vec::new()),
            claims: Informer::new("claims", Api::all(all()), |_| Vec::new()),
            volumes: Informer::new("volumes", Api::all(all()), |_| Vec::new()),
            storage_classes: Informer::new("storage_classes", Api::all(all()), |_| Vec::new()),
            attributes_classes: Informer::new("attributes_classes", Api::all(all()), |_| Vec::new()),
            policies: Informer::new("validating_admission_policies", Api::all(all()), |_| Vec::new()),
        }
    }
}

impl Informers {
    /// Waits until every wanted resource has been listed.
    async fn synced(&self) {
        synced(&self.deployments).await;
        synced(&self.replica_sets).await;
        synced(&self.replication_controllers).await;
        synced(&self.stateful_sets).await;
        synced(&self.controller_revisions).await;
        synced(&self.daemon_sets).await;
        synced(&self.budgets).await;
        synced(&self.jobs).await;
        synced(&self.cron_jobs).await;
        synced(&self.pods).await;
        synced(&self.services).await;
        synced(&self.endpoint_slices).await;
        synced(&self.endpoints).await;
        synced(&self.service_cidrs).await;
        synced(&self.ip_addresses).await;
        synced(&self.namespaces).await;
        synced(&self.service_accounts).await;
        synced(&self.token_secrets).await;
        synced(&self.root_cas).await;
        synced(&self.nodes).await;
        synced(&self.node_leases).await;
        synced(&self.cluster_roles).await;
        synced(&self.resource_quotas).await;
        synced(&self.certificate_requests).await;
        synced(&self.claims).await;
        synced(&self.volumes).await;
        synced(&self.storage_classes).await;
        synced(&self.attributes_classes).await;
        synced(&self.policies).await;
    }
}

async fn synced<K: Observable>(informer: &Informer<K>) {
    if informer.is_wanted() {
        informer.cache().synced().await;
    }
}

/// `owner/UID` of the controller, or `orphan/NAMESPACE` where there is none.
fn owner_term(meta: &ObjectMeta) -> String {
    match controller_of(meta) {
        Some(owner) => format!("owner/{}", owner.uid),
        None => format!("orphan/{}", meta.namespace.as_deref().unwrap_or_default()),
    }
}

fn pod_terms(pod: &Pod) -> Vec<String> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    node.map(|node| format!("node/{node}"))
        .into_iter()
        .chain([owner_term(&pod.metadata)])
        .collect()
}

/// What one controller is built from.
pub(crate) struct Context {
    /// Acts as the controller's service account.
    pub(crate) client: kube::Client,
    pub(crate) recorder: Recorder,
    pub(crate) config: Arc<Config>,
}

/// Runs the controllers that the configuration names until the token is cancelled, and leaves no task behind.
///
/// # Errors
/// [`RunError`] when a controller's credentials cannot be had at start. Later failures are retried and logged.
pub async fn run(
    clients: Arc<dyn ClientFactory>,
    config: Config,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let shared = clients.shared().await;
    let shared = shared.map_err(|source| RunError::Client {
        controller: "shared informers",
        source,
    })?;
    // However this ends, the tasks end with it.
    let ending = shutdown.child_token();
    let _guard = ending.clone().drop_guard();
    let starting = Starting {
        informers: Arc::new(Informers::new(&shared)),
        clients,
        shared,
        config: Arc::new(config),
        tasks: TaskTracker::new(),
        shutdown: ending,
    };
    for name in ControllerName::ALL {
        if starting.config.enables(name) {
            starting.start(name).await?;
        }
    }
    starting.follow();
    starting.tasks.close();
    starting.tasks.wait().await;
    Ok(())
}

/// Everything that is needed while controllers are being started.
struct Starting {
    informers: Arc<Informers>,
    clients: Arc<dyn ClientFactory>,
    shared: kube::Client,
    config: Arc<Config>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Starting {
    #[allow(
        clippy::too_many_lines,
        reason = "an arm for each controller, and nothing else"
    )]
    async fn start(&self, name: ControllerName) -> Result<(), RunError> {
        let context = self.context(name).await?;
        let informers = &self.informers;
        match name {
            ControllerName::Deployment => self.work(name, deployment::start(&context, informers)),
            ControllerName::ReplicaSet => self.work(name, replicaset::start(&context, informers)),
            ControllerName::ReplicationController => {
                self.work(name, replicaset::start_older(&context, informers));
            }
            ControllerName::StatefulSet => self.work(name, statefulset::start(&context, informers)),
            ControllerName::DaemonSet => self.work(name, daemonset::start(&context, informers)),
            ControllerName::Job => self.work(name, job::start(&context, informers)),
            ControllerName::CronJob => self.work(name, cronjob::start(&context, informers)),
            ControllerName::TtlAfterFinished => self.work(name, expiry::start(&context, informers)),
            ControllerName::Disruption => self.work(name, disruption::start(&context, informers)),
            ControllerName::EndpointSlice => self.work(name, endpointslice::start(&context, informers)),
            ControllerName::EndpointSliceMirroring => self.work(name, mirroring::start(&context, informers)),
            ControllerName::Endpoints => self.work(name, endpoints::start(&context, informers)),
            ControllerName::ServiceCidr => self.work(name, cidrs::start(&context, informers)),
            ControllerName::Namespace => self.work(name, cluster::namespace::start(&context, informers)),
            ControllerName::ServiceAccountToken => {
                if let Some(started) = cluster::tokens::start(&context, informers) {
                    self.work(name, started);
                }
            }
            ControllerName::ServiceAccount => {
                self.work(name, cluster::service_accounts::start(&context, informers));
            }
            ControllerName::RootCaPublisher => {
                if let Some(started) = cluster::root_ca::start(&context, informers) {
                    self.work(name, started);
                }
            }
            ControllerName::ClusterRoleAggregation => {
                self.work(name, cluster::cluster_roles::start(&context, informers));
            }
            ControllerName::ResourceQuota => {
                let lifetime = (self.tasks.clone(), self.shutdown.clone());
                let started = cluster::quotas::start(&context, informers, self.shared.clone(), lifetime);
                self.work(name, started);
            }
            ControllerName::CertificateApproving => {
                self.work(name, certificates::approving::start(&context, informers));
            }
            ControllerName::CertificateSigning => {
                if let Some(started) = certificates::signing::start(&context, informers) {
                    self.work(name, started);
                }
            }
            ControllerName::CertificateCleaning => {
                self.work(name, certificates::cleaning::start(&context, informers));
            }
            ControllerName::VolumeBinder
            | ControllerName::EphemeralVolume
            | ControllerName::ClaimProtection
            | ControllerName::VolumeProtection
            | ControllerName::AttributesClassProtection => self.start_of_storage(name, &context),
            ControllerName::ValidatingAdmissionPolicyStatus => {
                self.work(name, cluster::policies::start(&context, informers));
            }
            ControllerName::NodeIpam => {
                if let Some(started) = nodes::ipam::start(&context, informers) {
                    self.work(name, started);
                }
            }
            ControllerName::NodeLifecycle => self.work(name, nodes::lifecycle::start(&context, informers)),
            ControllerName::TaintEviction => self.work(name, nodes::eviction::start(&context, informers)),
            ControllerName::PodGarbageCollector => self.work(name, garbage::pods::start(&context, informers)),
            ControllerName::GarbageCollector => self.collect(name, &context),
        }
        Ok(())
    }

    /// Starts one of those that have to do with volumes.
    fn start_of_storage(&self, name: ControllerName, context: &Context) {
        let informers = &self.informers;
        match name {
            ControllerName::VolumeBinder => self.work(name, storage::binder::start(context, informers)),
            ControllerName::EphemeralVolume => self.work(name, storage::ephemeral::start(context, informers)),
            ControllerName::ClaimProtection => {
                self.work(name, storage::protection::claims(context, informers));
            }
            ControllerName::VolumeProtection => {
                self.work(name, storage::protection::volumes(context, informers));
            }
            _ => self.work(name, storage::protection::attributes_classes(context, informers)),
        }
    }

    async fn context(&self, name: ControllerName) -> Result<Context, RunError> {
        let client = match name {
            // Without tokens nobody can act as an account.
            ControllerName::ServiceAccountToken => Ok(self.shared.clone()),
            name => self.clients.client(name.service_account()).await,
        };
        let client = client.map_err(|source| RunError::Client {
            controller: name.as_str(),
            source,
        })?;
        let component = name.component();
        let (recorder, write) = Recorder::new(client.clone(), component, self.shutdown.clone());
        self.tasks.spawn(write);
        Ok(Context {
            client,
            recorder,
            config: self.config.clone(),
        })
    }

    /// Lets the controller work off its queue once the informers know the world.
    fn work<R: Reconcile>(&self, name: ControllerName, (controller, queue): (Arc<R>, Arc<Queue<R::Key>>)) {
        let (informers, shutdown, workers) =
            (self.informers.clone(), self.shutdown.clone(), self.config.workers);
        self.tasks.spawn(async move {
            if shutdown.run_until_cancelled(informers.synced()).await.is_some() {
                work(name.as_str(), controller, queue, workers, shutdown).await;
            }
        });
    }

    /// The garbage collector follows resources of its own choice, by their metadata.
    fn collect(&self, name: ControllerName, context: &Context) {
        let (collector, queue) = garbage::collector::start(context);
        let (ready, mut is_ready) = watch::channel(false);
        self.tasks.spawn(
            collector
                .clone()
                .follow(self.shared.clone(), ready, self.shutdown.clone()),
        );
        let (shutdown, workers) = (self.shutdown.clone(), self.config.workers);
        self.tasks.spawn(async move {
            let ready = async { is_ready.wait_for(|ready| *ready).await.is_ok() };
            if shutdown.run_until_cancelled(ready).await == Some(true) {
                work(name.as_str(), collector, queue, workers, shutdown).await;
            }
        });
    }

    /// Follows every resource that a controller asked for.
    fn follow(&self) {
        let all = &self.informers;
        self.follow_one(all, |all| &all.deployments);
        self.follow_one(all, |all| &all.replica_sets);
        self.follow_one(all, |all| &all.replication_controllers);
        self.follow_one(all, |all| &all.stateful_sets);
        self.follow_one(all, |all| &all.controller_revisions);
        self.follow_one(all, |all| &all.daemon_sets);
        self.follow_one(all, |all| &all.budgets);
        self.follow_one(all, |all| &all.jobs);
        self.follow_one(all, |all| &all.cron_jobs);
        self.follow_one(all, |all| &all.pods);
        self.follow_one(all, |all| &all.services);
        self.follow_one(all, |all| &all.endpoint_slices);
        self.follow_one(all, |all| &all.endpoints);
        self.follow_one(all, |all| &all.service_cidrs);
        self.follow_one(all, |all| &all.ip_addresses);
        self.follow_one(all, |all| &all.namespaces);
        self.follow_one(all, |all| &all.service_accounts);
        self.follow_one(all, |all| &all.token_secrets);
        self.follow_one(all, |all| &all.root_cas);
        self.follow_one(all, |all| &all.nodes);
        self.follow_one(all, |all| &all.node_leases);
        self.follow_one(all, |all| &all.cluster_roles);
        self.follow_one(all, |all| &all.resource_quotas);
        self.follow_one(all, |all| &all.certificate_requests);
        self.follow_one(all, |all| &all.claims);
        self.follow_one(all, |all| &all.volumes);
        self.follow_one(all, |all| &all.storage_classes);
        self.follow_one(all, |all| &all.attributes_classes);
        self.follow_one(all, |all| &all.policies);
    }

    fn follow_one<K: Observable>(&self, all: &Arc<Informers>, which: fn(&Informers) -> &Informer<K>) {
        if which(all).is_wanted() {
            let (all, shutdown) = (all.clone(), self.shutdown.clone());
            self.tasks
                .spawn(async move { which(&all).follow(shutdown).await });
        }
    }
}
