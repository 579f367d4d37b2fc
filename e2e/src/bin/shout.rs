//! A controller as users of kube-rs write them: it keeps, for every ConfigMap with the label `shout=yes`, a second one
//! whose values are in upper case.
//!
//! Watches both with a reflector behind the controller, writes by server-side apply (where a server does not speak that, by
//! create and replace), sets an owner so that copies go with their originals. Runs until it is killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Resource, ResourceExt};

/// Selects the originals.
const LABEL: &str = "shout=yes";

/// Selects the copies.
const COPY_LABEL: (&str, &str) = ("shouted-by", "shout");

/// The field manager.
const MANAGER: &str = "shout";

/// What a server answers that knows no server-side apply.
const UNSUPPORTED_MEDIA_TYPE: u16 = 415;

#[derive(Debug, thiserror::Error)]
enum ShoutError {
    #[error("the copy could not be written")]
    Apply(#[from] kube::Error),
    #[error("an original has no namespace or no uid")]
    Incomplete,
}

async fn reconcile(original: Arc<ConfigMap>, client: Arc<Client>) -> Result<Action, ShoutError> {
    let namespace = original.namespace().ok_or(ShoutError::Incomplete)?;
    let owner = original.controller_owner_ref(&()).ok_or(ShoutError::Incomplete)?;
    let shouted = |(key, value): (&String, &String)| (key.clone(), value.to_uppercase());
    let copy = ConfigMap {
        metadata: ObjectMeta {
            name: Some(format!("{}-shouted", original.name_any())),
            labels: Some(BTreeMap::from([(
                COPY_LABEL.0.to_owned(),
                COPY_LABEL.1.to_owned(),
            )])),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        data: original
            .data
            .as_ref()
            .map(|data| data.iter().map(shouted).collect()),
        ..ConfigMap::default()
    };
    write(&Api::namespaced((*client).clone(), &namespace), copy).await?;
    Ok(Action::await_change())
}

async fn write(copies: &Api<ConfigMap>, mut copy: ConfigMap) -> Result<(), kube::Error> {
    let name = copy.name_any();
    match copies
        .patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&copy))
        .await
    {
        Err(kube::Error::Api(status)) if status.code == UNSUPPORTED_MEDIA_TYPE => {}
        result => return result.map(drop),
    }
    let post = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    match copies.get_opt(&name).await? {
        None => copies.create(&post, &copy).await.map(drop),
        Some(found) if found.data == copy.data => Ok(()),
        Some(found) => {
            copy.metadata.resource_version = found.metadata.resource_version;
            copies.replace(&name, &post, &copy).await.map(drop)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let client = Client::try_default().await.context("no cluster to talk to")?;
    let maps = Api::<ConfigMap>::all(client.clone());
    let copies = watcher::Config::default().labels(&format!("{}={}", COPY_LABEL.0, COPY_LABEL.1));
    Controller::new(maps.clone(), watcher::Config::default().labels(LABEL))
        .owns(maps, copies)
        .run(
            reconcile,
            |_, _, _| Action::requeue(Duration::from_secs(1)),
            Arc::new(client),
        )
        .for_each(|result| async move {
            if let Err(error) = result {
                eprintln!("shout: {error}");
            }
        })
        .await;
    Ok(())
}
