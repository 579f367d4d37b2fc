//! What reaches into containers: exec, logs, cp, attach, port-forward, debug.

use anyhow::{Context, Result, ensure};
use coracle_e2e::page;
use coracle_e2e::script::Script;

pub(crate) async fn walk(kubectl: &Script) -> Result<()> {
    kubectl.write("box.yaml", BOX)?;
    kubectl
        .says(&[
            ("apply -f box.yaml", "pod/box created"),
            (
                "wait --for=condition=Ready pod/box --timeout=90s",
                "condition met",
            ),
        ])
        .await?;
    executed(kubectl).await?;
    logged(kubectl).await?;
    copied(kubectl).await?;
    attached(kubectl).await?;
    forwarded(kubectl).await?;
    debugged(kubectl).await?;
    deleted(kubectl).await
}

/// A pod of two containers: one with a shell and `tar`, one that serves a page.
const BOX: &str = "
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: tools, image: \"example.test/toolbox:1\", args: [\"-c\", \"while read word; do echo said $word; done\"], stdin: true}
  - {name: hello, image: \"coracle.dev/hello:1\", args: [serve], ports: [{name: http, containerPort: 8080}]}
";

async fn executed(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            (
                "exec box -- sh -c 'echo out'",
                "Defaulted container \"tools\" out of: tools, hello",
            ),
            ("exec box -c hello -- hello echo words", "words\n"),
            ("exec -f box.yaml -c tools -- cat /etc/hostname", "box\n"),
            ("exec -q pod/box -c tools -- sh -c 'echo wrong >&2'", "wrong\n"),
        ])
        .await?;
    let failed = kubectl.run("exec box -c tools -- sh -c 'exit 3'").await?;
    ensure!(
        failed.code == Some(3) && failed.stderr.contains("command terminated with exit code 3"),
        "{failed:?}"
    );
    kubectl
        .refuses(&[
            (
                "exec box -c none -- ls",
                "container none is not valid for pod box",
            ),
            ("exec none -- ls", "pods \"none\" not found"),
        ])
        .await
}

async fn logged(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("logs box -c hello", "listens on"),
            (
                "logs box --all-containers --prefix",
                "[pod/box/hello] hello 1 listens on",
            ),
            (
                "logs box -c hello --timestamps --since=1h --tail=1",
                "Z hello 1 listens on",
            ),
            ("logs box -c hello --limit-bytes=7", "hello 1"),
            ("logs -l app=box -c hello", "listens on"),
        ])
        .await?;
    kubectl
        .refuses(&[
            ("logs box -c none", "container none is not valid for pod box"),
            (
                "logs box -c hello --previous",
                "previous terminated container \"hello\" in pod \"box\" not found",
            ),
        ])
        .await?;
    let mut followed = kubectl.follow("logs -f box -c hello")?;
    followed.until("listens on").await?;
    kubectl
        .text("exec box -c hello -- hello get http://127.0.0.1:8080/")
        .await?;
    followed.until("/ 200 OK").await?;
    followed.end().await
}

async fn copied(kubectl: &Script) -> Result<()> {
    kubectl.write("there/words", "words to carry")?;
    kubectl.write("there/below/more", "more of them")?;
    kubectl
        .says(&[
            ("cp there/words box:/tmp/words -c tools", ""),
            ("exec box -c tools -- cat /tmp/words", "words to carry"),
            ("cp there @ns/box:/tmp/ -c tools", ""),
            ("exec box -c tools -- cat /tmp/there/below/more", "more of them"),
            ("cp box:/tmp/there back -c tools", ""),
            ("cp box:/tmp/words words-back -c tools --retries=2", ""),
        ])
        .await?;
    for (file, text) in [
        ("back/below/more", "more of them"),
        ("words-back", "words to carry"),
    ] {
        let copied = std::fs::read_to_string(kubectl.folder().join(file)).context(file)?;
        ensure!(copied == text, "{file} came back: {copied}");
    }
    Ok(())
}

async fn attached(kubectl: &Script) -> Result<()> {
    // The input stays open: stdinOnce is not set.
    for word in ["first", "second"] {
        let mut attached =
            kubectl.follow_with_input("attach box -c tools -i --quiet", &format!("{word}\n"))?;
        attached.until(&format!("said {word}")).await?;
        attached.end().await?;
    }
    kubectl
        .says(&[("logs box -c tools", "said first\nsaid second\n")])
        .await
}

async fn forwarded(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[(
            "expose pod box --port=80 --target-port=http",
            "service/box exposed",
        )])
        .await?;
    for target in [
        "box :8080",
        "pod/box :8080",
        "service/box :80",
        "box --address=127.0.0.1 :8080",
    ] {
        let mut forward = kubectl.follow(&format!("port-forward {target}"))?;
        let line = forward.until("Forwarding from 127.0.0.1:").await?;
        let address = line.split(' ').nth(2).context("an address")?;
        for _ in 0..3 {
            let page = page::read(address).await.with_context(|| target.to_owned())?;
            ensure!(page.contains("Hello from Coracle!"), "{target}: {page}");
        }
        forward.end().await?;
    }
    kubectl
        .refuses(&[("port-forward none :80", "pods \"none\" not found")])
        .await
}

async fn debugged(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("debug box --image=coracle.dev/hello:1 --target=hello --profile=general -c near -- hello serve", "Targeting container \"hello\""),
            (
                "wait --for=jsonpath='{.status.ephemeralContainerStatuses[?(@.name==\"near\")].state.terminated.exitCode}'=1 pod/box --timeout=90s",
                "condition met",
            ),
            ("debug box --image=coracle.dev/hello:1 --copy-to=twin --share-processes --same-node -c extra -- hello sleep 100", ""),
            ("wait --for=condition=Ready pod/twin --timeout=90s", "condition met"),
            ("get pod twin -o jsonpath={.spec.shareProcessNamespace}-{.spec.containers[*].name}", "true-tools hello extra"),
            ("debug box --copy-to=other --container=hello --set-image=hello=coracle.dev/hello:2 -- hello serve", ""),
            ("wait --for=condition=Ready pod/other --timeout=90s", "condition met"),
            ("logs other -c hello", "hello 2 listens on"),
        ])
        .await?;
    let echoed = kubectl
        .run_until_heard(
            "debug box -i -q --image=coracle.dev/hello:1 --profile=general -c echo -- hello cat",
            "to and fro\n",
            "to and fro",
        )
        .await?;
    ensure!(
        echoed.code == Some(0) && echoed.stdout.contains("to and fro"),
        "{echoed:?}"
    );
    let node = kubectl.text("get pod box -o jsonpath={.spec.nodeName}").await?;
    // It waits to be told, so that nothing is said before somebody listens.
    let debug = format!(
        "debug node/{node} --image=example.test/toolbox:1 --profile=sysadmin -i -q -- /bin/sh -c 'read go; ls /host/proc/1/ns'"
    );
    let seen = kubectl.run_until_heard(&debug, "go\n", "net").await?;
    ensure!(
        seen.code == Some(0) && seen.stdout.contains("net"),
        "the node's files: {seen:?}"
    );
    Ok(())
}

async fn deleted(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("delete pod twin --now", "pod \"twin\" deleted"),
            (
                "delete pod other --force --grace-period=0",
                "Immediate deletion does not wait for confirmation",
            ),
            ("delete pods -l app=box --timeout=60s", "pod \"box\" deleted"),
            ("delete pods --all --timeout=60s", ""),
        ])
        .await
}
