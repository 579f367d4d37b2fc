//! Query parameters, by what they are for. Each table is sorted by name.

use super::Parameter;

/// Which objects a list has and a deletion of a collection deletes.
pub(super) const SELECT: &[Parameter] = &[
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
];

pub(super) const WATCH: &[Parameter] = &[("allowWatchBookmarks", "boolean"), ("watch", "boolean")];

pub(super) const WRITE: &[Parameter] = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
];

pub(super) const FORCE: &[Parameter] = &[("force", "boolean")];

pub(super) const DELETE: &[Parameter] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

pub(super) const PRETTY: &[Parameter] = &[("pretty", "string")];

/// What a stream to a pod, or a request that is passed on, may be asked with: by the kind of its options.
pub(super) fn of_options(kind: &str) -> &'static [Parameter] {
    match kind {
        "PodAttachOptions" => &[
            ("container", "string"),
            ("stderr", "boolean"),
            ("stdin", "boolean"),
            ("stdout", "boolean"),
            ("tty", "boolean"),
        ],
        "PodExecOptions" => &[
            ("command", "string"),
            ("container", "string"),
            ("stderr", "boolean"),
            ("stdin", "boolean"),
            ("stdout", "boolean"),
            ("tty", "boolean"),
        ],
        "PodPortForwardOptions" => &[("ports", "integer")],
        "NodeProxyOptions" | "PodProxyOptions" | "ServiceProxyOptions" => &[("path", "string")],
        _ => &[],
    }
}

/// What a pod's log may be asked with (`PodLogOptions`).
pub(super) const LOGS: &[Parameter] = &[
    ("container", "string"),
    ("follow", "boolean"),
    ("insecureSkipTLSVerifyBackend", "boolean"),
    ("limitBytes", "integer"),
    ("previous", "boolean"),
    ("sinceSeconds", "integer"),
    ("stream", "string"),
    ("tailLines", "integer"),
    ("timestamps", "boolean"),
];

/// What a query parameter is for, in our words: those of options for deletion are described where these are.
pub(in crate::openapi) fn about(name: &str) -> Option<&'static str> {
    Some(match name {
        "allowWatchBookmarks" => {
            "Whether a watch may tell from time to time, in events of type BOOKMARK, which revision it has come to."
        }
        "command" => {
            "The program to run and its arguments, each as a parameter of its own; no shell reads them."
        }
        "container" => "Which of the pod's containers is meant. A pod with a single one needs no name.",
        "continue" => {
            "Where to go on with a list: the continue of the part before, with all else asked as it was then. 410 says that it \
             is too old; then the list has to be begun anew, or taken up where it is with the token in that answer."
        }
        "fieldManager" => {
            "Who writes, for metadata.managedFields: at most 128 printable characters. Who applies has to say it; of others it is \
             the first part of the user agent otherwise."
        }
        "fieldSelector" => "Which objects, by their fields, such as metadata.name=a; all where it is empty.",
        "fieldValidation" => {
            "What comes of fields in the body that the type does not have, or that stand twice: Ignore drops them, Warn (as by \
             default) says so in warnings, Strict refuses the request and names them."
        }
        "follow" => "Whether the log goes on as the container writes it.",
        "force" => {
            "Whether fields that others own are taken over in place of a conflict; for apply patches only."
        }
        "insecureSkipTLSVerifyBackend" => {
            "Whether the node's certificate is taken unseen, for nodes that nobody vouches for."
        }
        "labelSelector" => "Which objects, by their labels, such as app=a; all where it is empty.",
        "limit" => {
            "How many objects a list has at most. Where there are more, its metadata has a continue, by which the next part is \
             asked for; all parts together are the list as it was when the first was asked for."
        }
        "limitBytes" => "How many bytes of the log at most; the last line may be cut.",
        "path" => "The rest of the path of the request that is passed on.",
        "ports" => "Which ports are forwarded; needed where WebSockets are used.",
        "pretty" => {
            "Whether JSON is indented, true or false; where nothing is said, it is for browsers, curl and Wget."
        }
        "previous" => "Whether the log of the container before its last restart is meant.",
        "resourceVersion" => {
            "Which revision is answered from: none for the newest, 0 for any, others for one that is at least as new."
        }
        "resourceVersionMatch" => {
            "How resourceVersion counts for a list: Exact for that revision, NotOlderThan for one that is at least as new."
        }
        "sendInitialEvents" => {
            "Whether a watch begins with the objects that there are, each as ADDED, and a bookmark after the last of them. Wants \
             resourceVersionMatch NotOlderThan."
        }
        "shardSelector" => {
            "Which part of the objects, by a range of hashes, for clients that share them out."
        }
        "sinceSeconds" => "From how many seconds ago on the log is told.",
        "stderr" => "Whether what the container writes to standard error is wanted.",
        "stdin" => "Whether the container is to read what the client sends.",
        "stdout" => "Whether what the container writes to standard output is wanted.",
        "stream" => "Which of the container's streams: All, Stdout or Stderr.",
        "tailLines" => "How many lines from the end of the log; all where nothing is said.",
        "timeoutSeconds" => "After how many seconds the answer ends, whether or not there is more to say.",
        "timestamps" => "Whether each line begins with the time at which it was written, as in RFC 3339.",
        "tty" => "Whether the container's process has a terminal.",
        "watch" => "Whether changes are told as they happen, from resourceVersion on, in place of a list.",
        _ => return None,
    })
}
