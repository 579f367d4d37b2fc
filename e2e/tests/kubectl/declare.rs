//! What is declared and changed: apply, diff, edit, patch, label, annotate, replace, kustomize.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use coracle_e2e::script::Script;

use crate::{SETTINGS, WEB};

pub(crate) async fn walk(kubectl: &Script) -> Result<()> {
    kubectl.write("settings.yaml", SETTINGS)?;
    kubectl.write("changed.yaml", &SETTINGS.replace("\"1\"", "\"9\""))?;
    kubectl.write("web.yaml", WEB)?;
    applied(kubectl).await?;
    applied_on_the_server(kubectl).await?;
    pruned(kubectl).await?;
    compared(kubectl).await?;
    edited(kubectl).await?;
    labelled(kubectl).await?;
    patched(kubectl).await?;
    replaced(kubectl).await?;
    customized(kubectl).await
}

async fn applied(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            (
                "apply -f settings.yaml --dry-run=client",
                "configmap/settings created (dry run)",
            ),
            (
                "apply -f settings.yaml --dry-run=server",
                "configmap/settings created (server dry run)",
            ),
            ("apply -f settings.yaml", "configmap/settings created"),
            ("apply -f settings.yaml", "configmap/settings unchanged"),
            ("apply -f changed.yaml", "configmap/settings configured"),
            ("get configmap settings -o jsonpath={.data.a}", "9"),
            ("apply view-last-applied configmap settings", "a: \"9\""),
            (
                "apply set-last-applied -f settings.yaml",
                "configmap/settings configured",
            ),
            (
                "apply view-last-applied configmap settings -o json",
                "\"a\": \"1\"",
            ),
            (
                "apply -f settings.yaml -f web.yaml",
                "deployment.apps/web created",
            ),
            ("apply -f web.yaml", "deployment.apps/web unchanged"),
        ])
        .await?;
    kubectl.write("wrong.yaml", &SETTINGS.replace("\ndata:", "\ndada:"))?;
    kubectl
        .refuses(&[
            ("apply -f wrong.yaml", "unknown field \"dada\""),
            ("create -f settings.yaml", "Error from server (AlreadyExists)"),
        ])
        .await?;
    kubectl
        .says(&[(
            "apply -f wrong.yaml --validate=warn",
            "Warning: unknown field \"dada\"",
        )])
        .await
}

async fn applied_on_the_server(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("delete configmap settings", "\"settings\" deleted"),
            ("apply -f settings.yaml", "created"),
            // What client-side apply owned passes over to server-side apply.
            (
                "apply --server-side -f settings.yaml",
                "configmap/settings serverside-applied",
            ),
            (
                "apply --server-side -f settings.yaml -f web.yaml",
                "deployment.apps/web serverside-applied",
            ),
        ])
        .await?;
    kubectl
        .refuses(&[(
            "apply --server-side --field-manager=other -f changed.yaml",
            "Apply failed with 1 conflict: conflict with \"kubectl\": .data.a",
        )])
        .await?;
    kubectl
        .says(&[
            (
                "apply --server-side --field-manager=other --force-conflicts -f changed.yaml",
                "configmap/settings serverside-applied",
            ),
            ("get configmap settings -o jsonpath={.data.a}", "9"),
        ])
        .await?;
    let shown = kubectl
        .json("get configmap settings --show-managed-fields -o json")
        .await?;
    let managers = shown["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    let appliers: Vec<_> = managers
        .filter(|entry| entry["operation"] == "Apply")
        .filter_map(|entry| entry["manager"].as_str())
        .collect();
    ensure!(
        ["kubectl", "other"]
            .iter()
            .all(|manager| appliers.contains(manager)),
        "both managers are told: {shown}"
    );
    Ok(())
}

async fn pruned(kubectl: &Script) -> Result<()> {
    let map = |name: &str| {
        format!("{SETTINGS}\n---").replace(
            "{name: settings}",
            &format!("{{name: {name}, labels: {{set: pruned}}}}"),
        )
    };
    kubectl.write("both.yaml", &format!("{}{}", map("kept"), map("pruned")))?;
    kubectl.write("one.yaml", &map("kept"))?;
    let prune = "apply -f one.yaml --prune -l set=pruned --prune-allowlist=core/v1/ConfigMap";
    kubectl
        .says(&[
            ("apply -f both.yaml", "configmap/pruned created"),
            (prune, "configmap/pruned pruned"),
        ])
        .await?;
    kubectl.refuses(&[("get configmap pruned", "NotFound")]).await
}

async fn compared(kubectl: &Script) -> Result<()> {
    kubectl
        .text("apply --server-side --force-conflicts -f settings.yaml")
        .await?;
    for diff in [
        "diff -f changed.yaml",
        "diff --server-side --force-conflicts -f changed.yaml",
    ] {
        let outcome = kubectl.run(diff).await?;
        ensure!(
            outcome.code == Some(1) && outcome.stdout.contains("-  a: \"1\"\n+  a: \"9\"\n"),
            "{diff} tells a difference by its exit code: {outcome:?}"
        );
    }
    kubectl.says(&[("diff -f settings.yaml", "")]).await
}

async fn edited(kubectl: &Script) -> Result<()> {
    // The editor does the same whenever it is opened.
    for (does, command, expected) in [
        (
            "s/^  b: .*/  b: edited/",
            "edit configmap settings",
            "configmap/settings edited",
        ),
        (
            "s/nothing//",
            "edit configmap settings",
            "Edit cancelled, no changes made.",
        ),
        (
            r#"s/"b": "edited"/"b": "2"/"#,
            "edit configmap settings -o json",
            "\"b\": \"2\"",
        ),
        (
            "s/  a: .*/  a: last/",
            "apply edit-last-applied configmap settings",
            "configmap/settings edited",
        ),
        (
            "s/replicas: 1/replicas: 2/",
            "edit deployment web",
            "deployment.apps/web edited",
        ),
        (
            "s/maxSurge: .*/maxSurge: 50%/",
            "edit -f web.yaml --save-config",
            "deployment.apps/web edited",
        ),
    ] {
        let editor = kubectl.folder().join("editor");
        kubectl.write("editor", &format!("#!/bin/sh\nsed -i '{does}' \"$1\"\n"))?;
        std::fs::set_permissions(editor, Permissions::from_mode(0o755))?;
        kubectl.says(&[(command, expected)]).await?;
    }
    kubectl
        .says(&[
            ("get configmap settings -o jsonpath={.data.b}", "2"),
            (
                "get deployment web -o jsonpath={.spec.replicas}-{.spec.strategy.rollingUpdate.maxSurge}",
                "2-50%",
            ),
        ])
        .await
}

async fn labelled(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            ("label configmap settings tier=one", "configmap/settings labeled"),
            (
                "label configmap settings tier=one",
                "configmap/settings not labeled",
            ),
            (
                "label configmap settings tier=two --overwrite",
                "configmap/settings labeled",
            ),
            ("label configmap settings --list", "tier=two"),
            ("label -f settings.yaml other=x --resource-version=", "labeled"),
            ("get configmap -l tier=two,other -o name", "configmap/settings"),
            ("label configmap --all swept=yes", "configmap/kept labeled"),
            ("label configmap settings tier-", "configmap/settings unlabeled"),
            (
                "annotate configmap settings note='two words'",
                "configmap/settings annotated",
            ),
            ("annotate configmap settings --list", "note=two words"),
            (
                "annotate configmap settings note-",
                "configmap/settings annotated",
            ),
        ])
        .await?;
    kubectl
        .refuses(&[
            (
                "label configmap settings other=y",
                "already has a value (x), and --overwrite is false",
            ),
            (
                "label configmap settings other=y --overwrite --resource-version=1",
                "the object has been modified",
            ),
            (
                "label configmap settings 'other=a b' --overwrite",
                "a valid label must be an empty string or consist of alphanumeric",
            ),
        ])
        .await
}

async fn patched(kubectl: &Script) -> Result<()> {
    kubectl
        .says(&[
            (r#"patch configmap settings -p '{"data":{"p":"1"}}'"#, "configmap/settings patched"),
            (r#"patch configmap settings -p '{"data":{"p":"1"}}'"#, "configmap/settings patched (no change)"),
            (r#"patch configmap settings --type=merge -p '{"data":{"p":null}}'"#, "patched"),
            (r#"patch configmap settings --type=json -p '[{"op":"replace","path":"/data/a","value":"7"}]'"#, "patched"),
            ("get configmap settings -o jsonpath={.data}", r#"{"a":"7","b":"2"}"#),
            (
                r#"patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"hello","env":[{"name":"A","value":"B"}]}]}}}}'"#,
                "deployment.apps/web patched",
            ),
            ("get deployment web -o jsonpath={.spec.template.spec.containers[*].image}", "coracle.dev/hello:1"),
            (r#"patch deployment web --subresource=scale --type=merge -p '{"spec":{"replicas":1}}'"#, "scale.autoscaling/web patched"),
            (r#"patch -f web.yaml --local -p '{"spec":{"replicas":5}}' -o yaml"#, "replicas: 5"),
        ])
        .await?;
    kubectl
        .refuses(&[
            (
                r#"patch configmap settings --type=json -p '[{"op":"remove","path":"/data/none"}]'"#,
                "the server rejected our request",
            ),
            (
                r#"patch deployment web -p '{"spec":{"replicas":-1}}'"#,
                "spec.replicas: Invalid value: -1",
            ),
        ])
        .await
}

async fn replaced(kubectl: &Script) -> Result<()> {
    let uid = "get configmap settings -o jsonpath={.metadata.uid}";
    let before = kubectl.text(uid).await?;
    kubectl
        .says(&[("replace -f changed.yaml", "configmap/settings replaced")])
        .await?;
    ensure!(kubectl.text(uid).await? == before, "the same object");
    kubectl
        .says(&[("replace --force -f settings.yaml", "configmap/settings replaced")])
        .await?;
    ensure!(
        kubectl.text(uid).await? != before,
        "another object of the same name"
    );
    kubectl
        .says(&[("delete -f settings.yaml --wait", "configmap \"settings\" deleted")])
        .await?;
    kubectl
        .refuses(&[("replace -f settings.yaml", "Error from server (NotFound)")])
        .await
}

async fn customized(kubectl: &Script) -> Result<()> {
    kubectl.write("custom/settings.yaml", SETTINGS)?;
    let customization = "
namePrefix: own-
resources: [settings.yaml]
configMapGenerator: [{name: made, literals: [a=b]}]
patches: [{target: {kind: ConfigMap, name: settings}, patch: '[{\"op\": \"add\", \"path\": \"/data/c\", \"value\": \"three\"}]'}]
";
    kubectl.write("custom/kustomization.yaml", customization)?;
    kubectl
        .says(&[
            ("kustomize custom", "c: three"),
            ("apply -k custom", "configmap/own-settings created"),
            ("diff -k custom", ""),
            ("get -k custom", "own-made-"),
            ("delete -k custom", "configmap \"own-settings\" deleted"),
        ])
        .await
}
