"""A program over the Python client, as users write them: lists and watches, commands in containers, logs, server-side apply.

It plays in a namespace of the cluster that the kubeconfig names, and fails unless every chapter does what it is there for.
"""

import sys

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream

TIMEOUT_SECONDS = 120


def config_map(name, **data):
    return client.V1ConfigMap(
        metadata=client.V1ObjectMeta(name=name, labels={"set": "python"}), data=data
    )


def watched(core, namespace):
    """A watch goes on where a list ended, and hears of each change once."""
    for number in range(5):
        core.create_namespaced_config_map(namespace, config_map(f"watched-{number}", n=str(number)))
    listed = core.list_namespaced_config_map(namespace, label_selector="set=python")
    assert len(listed.items) == 5, listed
    first = core.list_namespaced_config_map(namespace, label_selector="set=python", limit=2)
    rest = core.list_namespaced_config_map(
        namespace, label_selector="set=python", _continue=first.metadata._continue
    )
    assert len(first.items) + len(rest.items) == 5, rest
    core.patch_namespaced_config_map("watched-0", namespace, {"data": {"n": "changed"}})
    core.delete_namespaced_config_map("watched-1", namespace)
    core.create_namespaced_config_map(namespace, config_map("watched-5"))
    seen = []
    events = watch.Watch()
    for event in events.stream(
        core.list_namespaced_config_map,
        namespace,
        label_selector="set=python",
        resource_version=listed.metadata.resource_version,
        timeout_seconds=TIMEOUT_SECONDS,
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 3:
            events.stop()
    assert seen == [("MODIFIED", "watched-0"), ("DELETED", "watched-1"), ("ADDED", "watched-5")], seen
    core.delete_collection_namespaced_config_map(namespace, label_selector="set=python")
    try:
        core.read_namespaced_config_map("watched-0", namespace)
        raise AssertionError("it is still there")
    except ApiException as error:
        assert error.status == 404 and '"reason":"NotFound"' in error.body, error


def run_pod(core, namespace):
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "page"},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "hello", "image": "coracle.dev/hello:1", "args": ["serve"]}],
        },
    }
    core.create_namespaced_pod(namespace, pod)
    events = watch.Watch()
    for event in events.stream(
        core.list_namespaced_pod, namespace, field_selector="metadata.name=page", timeout_seconds=TIMEOUT_SECONDS
    ):
        if event["object"].status.phase == "Running":
            return
    raise AssertionError("the pod never runs")


def reached(core, namespace):
    """Commands, their input and exit code, the log as it comes, and a port."""
    run_pod(core, namespace)
    said = stream(
        core.connect_get_namespaced_pod_exec,
        "page",
        namespace,
        command=["hello", "echo", "words"],
        stdin=False,
        stdout=True,
        stderr=True,
        tty=False,
    )
    assert said == "words\n", said
    process = stream(
        core.connect_get_namespaced_pod_exec,
        "page",
        namespace,
        command=["hello", "cat"],
        stdin=True,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    process.write_stdin("there and back\n")
    assert process.readline_stdout(timeout=TIMEOUT_SECONDS) == "there and back"
    process.close()
    failing = stream(
        core.connect_get_namespaced_pod_exec,
        "page",
        namespace,
        command=["hello", "fail", "7"],
        stdin=False,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    failing.run_forever(timeout=TIMEOUT_SECONDS)
    assert failing.returncode == 7, failing.returncode
    ports = portforward(core.connect_get_namespaced_pod_portforward, "page", namespace, ports="8080")
    socket = ports.socket(8080)
    socket.settimeout(TIMEOUT_SECONDS)
    socket.sendall(b"GET / HTTP/1.1\r\nHost: page\r\nConnection: close\r\n\r\n")
    page = b""
    while piece := socket.recv(1024):
        page += piece
    assert b"Hello from Coracle!" in page, page
    lines = watch.Watch().stream(core.read_namespaced_pod_log, "page", namespace)
    assert "listens on" in next(lines)
    assert next(lines) == "/ 200 OK"
    core.delete_namespaced_pod("page", namespace)


def applied(api, namespace):
    """Server-side apply by the dynamic client, and a whole manifest at once."""
    any_client = dynamic.DynamicClient(api)
    deployments = any_client.resources.get(api_version="apps/v1", kind="Deployment")
    wanted = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "applied"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "applied"}},
            "template": {
                "metadata": {"labels": {"app": "applied"}},
                "spec": {"containers": [{"name": "hello", "image": "coracle.dev/hello:1"}]},
            },
        },
    }
    deployments.server_side_apply(body=wanted, namespace=namespace, field_manager="ours")
    wanted["spec"]["replicas"] = 1
    try:
        deployments.server_side_apply(body=wanted, namespace=namespace, field_manager="theirs")
        raise AssertionError("two managers want different counts")
    except ApiException as error:
        assert error.status == 409 and ".spec.replicas" in error.body.decode(), error
    forced = deployments.server_side_apply(
        body=wanted, namespace=namespace, field_manager="theirs", force_conflicts=True
    )
    assert forced.spec.replicas == 1, forced
    utils.create_from_dict(api, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "made"}, "spec": {"ports": [{"port": 80}]}}, namespace=namespace)
    deployments.delete(name="applied", namespace=namespace)


def main():
    namespace = sys.argv[1]
    config.load_kube_config()
    api = client.ApiClient()
    core = client.CoreV1Api(api)
    assert client.VersionApi(api).get_code().minor == "36"
    watched(core, namespace)
    print("done watched")
    reached(core, namespace)
    print("done reached")
    applied(api, namespace)
    print("done applied")


if __name__ == "__main__":
    main()
