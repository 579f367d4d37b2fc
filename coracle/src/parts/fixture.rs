//! A control plane without a node, for the tests of parts that need one.

use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use coracle_apiserver::request::UserInfo;
use coracle_apiserver::{ApiServer, Config, Running};
use coracle_store::model::ModelStore;
use tokio_util::sync::CancellationToken;

use super::server::InProcess;
use super::{addons, clients, signer};
use crate::cli::{Cli, Command};

/// An apiserver on a store in memory, the controllers and the add-ons. Ends with the test.
pub(super) struct ControlPlane {
    pub(super) running: Arc<Running>,
    /// Whom no policy binds.
    pub(super) admin: kube::Client,
    pub(super) shutdown: CancellationToken,
}

impl ControlPlane {
    /// With its files in a folder.
    pub(super) async fn start(folder: &Path) -> Self {
        let data = folder.join("data");
        let config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            ..Config::new(&data)
        };
        let running = ApiServer::start(config, Arc::new(ModelStore::new())).await;
        let running = Arc::new(running.unwrap());
        let shutdown = running.shutdown_token().clone();
        let Command::Server(server) = Cli::try_parse_from(["coracle", "server"]).unwrap().command else {
            panic!("it is a server");
        };
        let (flags, pki) = (&server.controllers, data.join("pki"));
        let signers = (
            signer::open(flags, Some(&pki)).unwrap(),
            signer::tokens(flags, Some(&pki.join("sa.key"))).unwrap(),
        );
        let controllers = clients::controllers_config(flags, Some("AUTHORITY".to_owned()), signers).unwrap();
        let factory = Arc::new(InProcess {
            running: running.clone(),
        });
        tokio::spawn(coracle_controllers::run(factory, controllers, shutdown.clone()));
        let admin = running.client(UserInfo {
            name: "admin".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..UserInfo::default()
        });
        tokio::spawn(addons::keep(admin.clone(), &addons::ALL, shutdown.clone()));
        Self {
            running,
            admin,
            shutdown,
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
