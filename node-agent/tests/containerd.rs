//! The agent against a real containerd. Each test has a containerd in namespaces of its own and leaves nothing behind.
//! Skipped, with a word, where there is no root or no containerd.

#![allow(
    clippy::unwrap_used,
    reason = "in a test, a panic with the line is the message"
)]

mod support;

use serde_json::{Value, json};
use support::api::FakeApi;
use support::cluster::{Agent, assign_range, is_ready, phase, pod, pod_with, status};
use support::runtime::{Containerd, available};

const NS: &str = "default";

async fn node(name: &str) -> (FakeApi, Containerd, Agent) {
    let api = FakeApi::new();
    let runtime = Containerd::start(name).await;
    let agent = Agent::start(&api, &runtime, None);
    assign_range(&api).await;
    api.wait_for("node is ready", "nodes", "", support::cluster::NODE, is_ready)
        .await;
    (api, runtime, agent)
}

fn log(runtime: &Containerd, pod: &Value, container: &str, attempt: u32) -> String {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let meta = &pod["metadata"];
    let dir = format!(
        "{}_{}_{}",
        text(&meta["namespace"]),
        text(&meta["name"]),
        text(&meta["uid"])
    );
    let path = runtime
        .dir
        .join("logs")
        .join(dir)
        .join(container)
        .join(format!("{attempt}.log"));
    let raw = std::fs::read_to_string(path).unwrap_or_default();
    raw.lines()
        .filter_map(|l| l.splitn(4, ' ').nth(3))
        .map(|l| format!("{l}\n"))
        .collect()
}

fn reasons(api: &FakeApi) -> Vec<String> {
    let mut events = api.all("events");
    events.sort_by_key(|e| {
        e["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|r| r.parse::<u64>().ok())
    });
    events
        .iter()
        .map(|e| e["reason"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_lives_and_dies() {
    if !available() {
        return;
    }
    let (api, runtime, agent) = node("life").await;
    api.put("pods", pod("web", &["sleep"], json!({})));
    let web = api
        .wait_for("pod runs", "pods", NS, "web", is_ready)
        .await
        .unwrap();
    assert_eq!(web["status"]["phase"], "Running");
    assert_eq!(status(Some(&web))["image"], support::images::WORK_IMAGE);
    assert!(web["status"]["podIP"].as_str().unwrap().starts_with("10.244.7."));
    assert_eq!(web["status"]["hostIP"], "127.0.0.1");
    assert_eq!(web["status"]["qosClass"], "BestEffort");
    api.delete_pod(NS, "web", 1);
    api.wait_for("pod is gone", "pods", NS, "web", |p| p.is_none())
        .await;
    let uid = web["metadata"]["uid"].as_str().unwrap();
    let dir = support::cluster::root_dir(&runtime).join("pods").join(uid);
    let gone = async {
        while dir.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone)
        .await
        .expect("the pod's directory goes");
    let seen = reasons(&api);
    for reason in ["Pulled", "Created", "Started", "Killing"] {
        assert!(seen.iter().any(|r| r == reason), "{reason} in {seen:?}");
    }
    agent.stop();
}

/// A pod that shows its environment and the files of every kind of volume.
fn filled_pod() -> Value {
    let volumes = json!([
        {"name": "cm", "configMap": {"name": "cm"}}, {"name": "s", "secret": {"secretName": "s", "defaultMode": 256}},
        {"name": "scratch", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "all", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}},
    ]);
    let mounts = json!([
        {"name": "cm", "mountPath": "/cm"}, {"name": "s", "mountPath": "/s"}, {"name": "scratch", "mountPath": "/scratch"},
        {"name": "memory", "mountPath": "/memory"}, {"name": "all", "mountPath": "/all"},
        {"name": "cm", "mountPath": "/one", "subPath": "file"},
    ]);
    let env = json!([
        {"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "greeting"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
        {"name": "BOTH", "value": "$(GREETING)-$(PASSWORD)"},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
    ]);
    let limits = json!({"limits": {"cpu": "200m", "memory": "64Mi"}});
    let files = [
        "/cm/file",
        "/s/password",
        "/all/token",
        "/all/labels",
        "/one",
        "/etc/hosts",
        "/etc/resolv.conf",
    ];
    let args: Vec<&str> = ["show"].into_iter().chain(files).collect();
    let container = json!({"env": env, "volumeMounts": mounts, "resources": limits});
    pod_with(
        "filled",
        &args,
        container,
        json!({"volumes": volumes, "hostname": "host"}),
    )
}

fn config_map(file: &str) -> Value {
    json!({"metadata": {"name": "cm", "namespace": NS}, "data": {"greeting": "hello", "file": file}})
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_and_volumes_are_filled_in_and_stay_current() {
    if !available() {
        return;
    }
    let (api, runtime, _agent) = node("volumes").await;
    api.put("configmaps", config_map("one"));
    api.put(
        "secrets",
        json!({"metadata": {"name": "s", "namespace": NS}, "data": {"password": "aHVudGVyMg=="}}),
    );
    api.put("pods", filled_pod());
    let filled = api
        .wait_for("pod runs", "pods", NS, "filled", is_ready)
        .await
        .unwrap();
    let ip = filled["status"]["podIP"].as_str().unwrap();
    let text = wait_for_text(|| log(&runtime, &filled, "c", 0), "nameserver").await;
    for line in [
        "GREETING=hello",
        "BOTH=hello-hunter2",
        &format!("POD_IP={ip}"),
        "CPU=200",
        "/cm/file: one",
        "/s/password: hunter2",
        "/all/token: a-token",
        "/all/labels: app=\"filled\"",
        "/one: one",
        &format!("{ip}\thost"),
        "nameserver 10.96.0.10",
        "search default.svc.cluster.local svc.cluster.local cluster.local",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    let uid = filled["metadata"]["uid"].as_str().unwrap();
    let volume = format!("pods/{uid}/volumes/kubernetes.io~configmap/cm/file");
    let file = support::cluster::root_dir(&runtime).join(volume);
    api.put("configmaps", config_map("two"));
    wait_for_text(|| std::fs::read_to_string(&file).unwrap_or_default(), "two").await;
    assert_eq!(filled["status"]["qosClass"], "Guaranteed");
    let limit = format!(
        "/sys/fs/cgroup/memory{}/kubepods/pod{uid}/memory.limit_in_bytes",
        runtime.cgroup_root
    );
    if std::path::Path::new("/sys/fs/cgroup/memory").exists() {
        assert_eq!(
            std::fs::read_to_string(limit).unwrap().trim(),
            (64 << 20).to_string()
        );
    }
}

async fn wait_for_text(read: impl Fn() -> String, want: &str) -> String {
    let wait = async {
        loop {
            let text = read();
            if text.contains(want) {
                return text;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(std::time::Duration::from_secs(30), wait).await {
        Ok(text) => text,
        Err(_) => panic!("{want:?} does not appear in {:?}", read()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_a_volume() {
    if !available() {
        return;
    }
    let (api, runtime, agent) = node("image").await;
    let volumes = json!({"volumes": [{"name": "tools", "image": {"reference": support::images::WORK_IMAGE, "pullPolicy": "Never"}}]});
    let mounts =
        json!({"volumeMounts": [{"name": "tools", "mountPath": "/tools"}], "command": ["/tools/work"]});
    api.put("pods", pod_with("i", &["sleep"], mounts, volumes));
    let pod = api.wait_for("pod runs", "pods", NS, "i", is_ready).await.unwrap();
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let volume = support::cluster::root_dir(&runtime)
        .join("pods")
        .join(uid)
        .join("volumes/kubernetes.io~image/tools");
    assert!(volume.join("work").is_file(), "the image's files are there");
    assert!(
        std::fs::write(volume.join("new"), "").is_err(),
        "and cannot be changed"
    );
    api.delete_pod(NS, "i", 1);
    api.wait_for("pod is gone", "pods", NS, "i", |p| p.is_none())
        .await;
    let gone = async {
        while volume.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone)
        .await
        .expect("the volume goes");
    agent.stop();
}

/// The cpu quota in microseconds of a cgroup of this machine, whichever version it has.
fn cpu_quota(path: &str) -> String {
    let v1 = std::fs::read_to_string(format!("/sys/fs/cgroup/cpu{path}/cpu.cfs_quota_us"));
    let text = v1.or_else(|_| std::fs::read_to_string(format!("/sys/fs/cgroup{path}/cpu.max")));
    let text = text.unwrap_or_else(|e| e.to_string());
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_change_while_a_container_runs() {
    if !available() {
        return;
    }
    let (api, runtime, agent) = node("resize").await;
    let limits = |cpu: &str| json!({"requests": {"cpu": "10m"}, "limits": {"cpu": cpu, "memory": "64Mi"}});
    let mut pod = pod_with("r", &["sleep"], json!({"resources": limits("100m")}), json!({}));
    pod["metadata"]["generation"] = json!(1);
    api.put("pods", pod);
    let made = api.wait_for("pod runs", "pods", NS, "r", is_ready).await.unwrap();
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let id = status(Some(&made))["containerID"].as_str().unwrap().to_owned();
    let pod_cgroup = format!("{}/kubepods/burstable/pod{uid}", runtime.cgroup_root);
    let container_cgroup = format!("{pod_cgroup}/{}", id.trim_start_matches("containerd://"));
    assert_eq!(cpu_quota(&container_cgroup), "10000");
    for (generation, cpu, quota) in [(2, "300m", "30000"), (3, "50m", "5000")] {
        api.edit("pods", NS, "r", |pod| {
            pod["spec"]["containers"][0]["resources"] = limits(cpu);
            pod["metadata"]["generation"] = json!(generation);
        });
        let told = |pod: Option<&Value>| {
            let resizing = pod.is_some_and(|p| p["status"]["conditions"].to_string().contains("PodResize"));
            status(pod)["resources"]["limits"]["cpu"] == cpu && !resizing
        };
        let pod = api
            .wait_for("the resize is through", "pods", NS, "r", told)
            .await
            .unwrap();
        assert_eq!(
            status(Some(&pod))["containerID"],
            id.as_str(),
            "the same container runs on"
        );
        assert_eq!(pod["status"]["observedGeneration"], generation);
        assert_eq!(cpu_quota(&container_cgroup), quota);
        assert_eq!(cpu_quota(&pod_cgroup), quota);
    }
    api.edit("pods", NS, "r", |pod| {
        pod["spec"]["containers"][0]["resources"] =
            json!({"requests": {"cpu": "9000"}, "limits": {"cpu": "9000", "memory": "64Mi"}});
    });
    let refused = |pod: Option<&Value>| {
        pod.is_some_and(|p| p["status"]["conditions"].to_string().contains("Infeasible"))
    };
    let pod = api
        .wait_for("the resize is refused", "pods", NS, "r", refused)
        .await
        .unwrap();
    assert_eq!(status(Some(&pod))["resources"]["limits"]["cpu"], "50m");
    assert_eq!(cpu_quota(&container_cgroup), "5000");
    let seen = reasons(&api);
    for reason in ["ResizeStarted", "ResizeCompleted", "ResizeInfeasible"] {
        assert!(seen.iter().any(|r| r == reason), "{reason} in {seen:?}");
    }
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_are_told_in_upstreams_words() {
    if !available() {
        return;
    }
    let (api, _runtime, _agent) = node("ends").await;
    let never = || json!({"restartPolicy": "Never"});
    api.put("pods", pod("once", &["exit", "0"], never()));
    api.put("pods", pod("failed", &["exit", "7"], never()));
    api.put(
        "pods",
        pod_with("no-program", &[], json!({"command": ["/nothing"]}), never()),
    );
    for (name, want, code, reason) in [
        ("once", "Succeeded", 0, "Completed"),
        ("failed", "Failed", 7, "Error"),
        ("no-program", "Failed", 128, "StartError"),
    ] {
        let ended = api
            .wait_for("pod ends", "pods", NS, name, |p| phase(p) == want)
            .await;
        let state = status(ended.as_ref())["state"]["terminated"].clone();
        assert_eq!(
            (state["exitCode"].as_i64(), state["reason"].as_str()),
            (Some(code), Some(reason)),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_are_told_in_upstreams_words() {
    if !available() {
        return;
    }
    let (api, _runtime, _agent) = node("waits").await;
    api.put("pods", pod("crash", &["last-words", "farewell"], json!({})));
    let never = json!({"image": "coracle.test/none:1", "imagePullPolicy": "Never"});
    api.put("pods", pod_with("no-image", &[], never, json!({})));
    let missing = json!({"envFrom": [{"configMapRef": {"name": "none"}}]});
    api.put("pods", pod_with("no-config", &["sleep"], missing, json!({})));
    let waits_for =
        |p: Option<&Value>, reason: &str| status(p)["state"]["waiting"]["reason"].as_str() == Some(reason);
    let looping = |p: Option<&Value>| waits_for(p, "CrashLoopBackOff");
    let crash = api.wait_for("loop is seen", "pods", NS, "crash", looping).await;
    let crashed = status(crash.as_ref());
    assert_eq!(crashed["lastState"]["terminated"]["message"], "farewell");
    assert_eq!(crashed["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(crashed["restartCount"], 1);
    assert!(
        crashed["state"]["waiting"]["message"]
            .as_str()
            .unwrap()
            .starts_with("back-off 10s restarting failed")
    );
    let no_image = |p: Option<&Value>| waits_for(p, "ErrImageNeverPull");
    api.wait_for("image is missed", "pods", NS, "no-image", no_image)
        .await;
    let no_config = |p: Option<&Value>| waits_for(p, "CreateContainerConfigError");
    api.wait_for("map is missed", "pods", NS, "no-config", no_config)
        .await;
    api.put(
        "configmaps",
        json!({"metadata": {"name": "none", "namespace": NS}, "data": {}}),
    );
    api.wait_for("map is found", "pods", NS, "no-config", is_ready)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_probes_and_hooks() {
    if !available() {
        return;
    }
    let (api, runtime, _agent) = node("probes").await;
    let get = |period: i32| json!({"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": period, "failureThreshold": 1});
    let serving = json!({
        "readinessProbe": get(1), "livenessProbe": get(1), "startupProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "lifecycle": {"postStart": {"exec": {"command": ["/work", "touch", "/tmp/started"]}}},
    });
    let init = json!({"initContainers": [
        {"name": "first", "image": support::images::WORK_IMAGE, "args": ["exit", "0"]},
        {"name": "side", "image": support::images::WORK_IMAGE, "args": ["sleep"], "restartPolicy": "Always"},
    ]});
    api.put("pods", pod_with("probed", &["serve", "8080"], serving, init));
    let ready = api
        .wait_for("pod becomes ready", "pods", NS, "probed", is_ready)
        .await
        .unwrap();
    assert_eq!(
        ready["status"]["initContainerStatuses"][0]["state"]["terminated"]["reason"],
        "Completed"
    );
    assert_eq!(ready["status"]["initContainerStatuses"][1]["started"], true);
    // The server answers 500 from now on, so liveness has it restarted.
    let id = status(Some(&ready))["containerID"]
        .as_str()
        .unwrap()
        .trim_start_matches("containerd://")
        .to_owned();
    let root = runtime
        .dir
        .join("state/io.containerd.runtime.v2.task/k8s.io")
        .join(&id)
        .join("rootfs/tmp/sick");
    let exec = std::process::Command::new("nsenter")
        .args([
            "--target",
            &runtime.pid(),
            "--mount",
            "touch",
            &root.to_string_lossy(),
        ])
        .status()
        .unwrap();
    assert!(exec.success());
    let restarted = |p: Option<&Value>| status(p)["restartCount"].as_i64() == Some(1) && is_ready(p);
    api.wait_for("container is restarted", "pods", NS, "probed", restarted)
        .await;
    let seen = reasons(&api);
    assert!(seen.iter().any(|r| r == "Unhealthy"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_outlive_the_agent_and_the_api() {
    if !available() {
        return;
    }
    let (api, runtime, agent) = node("adopt").await;
    for name in ["stays", "goes"] {
        api.put("pods", pod(name, &["sleep"], json!({})));
        api.wait_for("pod runs", "pods", NS, name, is_ready).await;
    }
    let id = |p: Option<&Value>| status(p)["containerID"].as_str().unwrap_or_default().to_owned();
    let before = id(api.get("pods", NS, "stays").as_ref());
    agent.stop();
    // While nobody looks, one pod is taken out of the API.
    let gone = api.get("pods", NS, "goes").unwrap();
    api.forget("pods", NS, "goes");
    let _agent = Agent::start(&api, &runtime, None);
    let dir = support::cluster::root_dir(&runtime)
        .join("pods")
        .join(gone["metadata"]["uid"].as_str().unwrap());
    wait_for_text(|| (!dir.exists()).to_string(), "true").await;
    let after = api.get("pods", NS, "stays");
    assert_eq!(
        id(after.as_ref()),
        before,
        "the container was adopted, not restarted"
    );
    assert_eq!(status(after.as_ref())["restartCount"], 0);
    // Without an API, a container that dies is restarted, and the API hears of it later.
    api.set_away(true);
    kill(&runtime, before.trim_start_matches("containerd://"));
    let log = || {
        let pod = after.clone().unwrap();
        let dir = format!("default_stays_{}", pod["metadata"]["uid"].as_str().unwrap());
        runtime
            .dir
            .join("logs")
            .join(dir)
            .join("c/1.log")
            .exists()
            .to_string()
    };
    wait_for_text(log, "true").await;
    api.set_away(false);
    let back = |p: Option<&Value>| status(p)["restartCount"] == 1 && is_ready(p);
    api.wait_for("the restart is told", "pods", NS, "stays", back)
        .await;
}

fn kill(runtime: &Containerd, container: &str) {
    let path = runtime
        .dir
        .join("state/io.containerd.runtime.v2.task/k8s.io")
        .join(container)
        .join("init.pid");
    let script = format!("kill -9 $(cat {})", path.display());
    let done = std::process::Command::new("nsenter")
        .args([
            "--target",
            &runtime.pid(),
            "--mount",
            "--pid",
            "sh",
            "-c",
            &script,
        ])
        .status()
        .unwrap();
    assert!(done.success());
}

/// One request over TLS from within the node's network: everything that comes back until the other end closes, or
/// until `enough` is seen.
fn ask(
    runtime: &Containerd,
    tls: tokio_rustls::TlsConnector,
    request: String,
    enough: &'static [u8],
) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let network = format!("/proc/{}/ns/net", runtime.pid());
    let thread = std::thread::spawn(move || {
        let file = std::fs::File::open(network).unwrap();
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", 10250))
                .await
                .unwrap();
            let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
            let mut stream = tls.connect(name, stream).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut seen = Vec::new();
            let read = async {
                let mut chunk = [0; 4096];
                loop {
                    let count = stream.read(&mut chunk).await.unwrap_or(0);
                    seen.extend_from_slice(&chunk[..count]);
                    if count == 0 || (!enough.is_empty() && seen.windows(enough.len()).any(|w| w == enough)) {
                        return;
                    }
                }
            };
            let _ = tokio::time::timeout(std::time::Duration::from_secs(20), read).await;
            seen
        })
    });
    thread.join().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_streams_go_through_the_server() {
    if !available() {
        return;
    }
    let pki = support::pki::Pki::new();
    let api = FakeApi::new();
    let runtime = Containerd::start("server").await;
    let _agent = Agent::start(&api, &runtime, Some(pki.serving()));
    assign_range(&api).await;
    api.put("pods", pod("talk", &["say", "good morning"], json!({})));
    let talk = api
        .wait_for("pod runs", "pods", NS, "talk", is_ready)
        .await
        .unwrap();
    wait_for_text(|| log(&runtime, &talk, "c", 0), "good morning").await;
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: node\r\n{more}\r\n");
    let close = "Connection: close\r\n";
    let allowed = || pki.client(Some("kube-apiserver-kubelet-client"));
    for (client, want) in [
        (pki.client(None), "401"),
        (pki.client(Some("somebody")), "403"),
        (allowed(), "200"),
    ] {
        let seen = ask(&runtime, client, get("/healthz", close), b"");
        assert!(
            seen.starts_with(format!("HTTP/1.1 {want}").as_bytes()),
            "{}",
            String::from_utf8_lossy(&seen)
        );
    }
    let logs = ask(
        &runtime,
        allowed(),
        get("/containerLogs/default/talk/c?tailLines=1", close),
        b"",
    );
    assert!(String::from_utf8_lossy(&logs).contains("good morning"));
    let none = ask(
        &runtime,
        allowed(),
        get("/containerLogs/default/talk/c?previous=true", close),
        b"",
    );
    assert!(
        String::from_utf8_lossy(&none)
            .contains("previous terminated container \"c\" in pod \"talk\" not found")
    );
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n";
    let path = "/exec/default/talk/c?command=/work&command=env&output=1&error=1";
    let seen = ask(&runtime, allowed(), get(path, websocket), b"\"Success\"");
    let text = String::from_utf8_lossy(&seen);
    assert!(text.starts_with("HTTP/1.1 101"), "{text}");
    assert!(text.contains("HOSTNAME=talk"), "{text}");
    assert!(text.contains("\"Success\""), "{text}");
}
