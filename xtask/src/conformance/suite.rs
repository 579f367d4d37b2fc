//! The images that the conformance suite asks for, made of Debian's packages and of the suite's own programs.
//!
//! Names and tags are the suite's (`e2e.test --list-images`); what stands here is how an image of that name is made.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use coracle_images::{Image, Layer, Packed, Settings};

use super::busybox;
use super::debian::Shelf;

/// Where the suite's images stand in its registry.
const REGISTRY: &str = "registry.k8s.io/";

/// What images are made of.
pub(crate) struct Sources<'a> {
    /// The folder of the suite's own programs.
    pub(crate) programs: &'a Path,
    /// Kubernetes' sources.
    pub(crate) kubernetes: &'a Path,
    /// Debian's packages.
    pub(crate) shelf: Shelf,
}

/// An image that has no name yet.
type Dish = (Vec<Packed>, Settings);

/// How the image of a repository is made.
struct Recipe {
    /// The repository's name below the registry.
    repository: &'static str,
    /// What it is made of instead of what upstream makes it of.
    instead: &'static str,
    make: fn(&Kitchen<'_>) -> Result<Dish>,
}

/// Every image that conformance specs run.
const RECIPES: &[Recipe] = &[
    Recipe {
        repository: "e2e-test-images/agnhost",
        instead: "upstream's program, built from 1.36.3 for both tags, on Debian instead of Alpine; no CoreDNS, no images of its fake registry",
        make: |kitchen| kitchen.agnhost(Layer::default(), "pause"),
    },
    Recipe {
        repository: "e2e-test-images/busybox",
        instead: "busybox 1.35 as released, on Debian",
        make: |kitchen| Ok((vec![kitchen.base.clone()], settings(&[], &["sh"]))),
    },
    Recipe {
        repository: "e2e-test-images/glibc-dns-testing",
        instead: "Debian's dnsutils as upstream has them; no CoreDNS",
        make: |kitchen| {
            Ok((
                vec![kitchen.base.clone(), kitchen.tools.clone()],
                settings(&[], &["bash"]),
            ))
        },
    },
    Recipe {
        repository: "e2e-test-images/kitten",
        instead: "upstream's page, on the agnhost above, with an `/etc/os-release` that says so",
        make: |kitchen| kitchen.agnhost(kitchen.page("kitten")?, "test-webserver"),
    },
    Recipe {
        repository: "e2e-test-images/nautilus",
        instead: "upstream's page, on the agnhost above, with an `/etc/os-release` that says so",
        make: |kitchen| kitchen.agnhost(kitchen.page("nautilus")?, "test-webserver"),
    },
    Recipe {
        repository: "e2e-test-images/nginx",
        instead: "Debian's nginx 1.22 for both tags",
        make: |kitchen| kitchen.nginx(),
    },
    Recipe {
        repository: "e2e-test-images/nonewprivs",
        instead: "upstream's program, on Debian instead of Alpine",
        make: |kitchen| kitchen.nonewprivs(),
    },
    Recipe {
        repository: "e2e-test-images/nonroot",
        instead: "busybox 1.35 as released, on Debian",
        make: |kitchen| {
            let user = "1234".to_owned();
            Ok((
                vec![kitchen.base.clone()],
                Settings {
                    user,
                    ..settings(&[], &["sh"])
                },
            ))
        },
    },
    Recipe {
        repository: "e2e-test-images/sample-apiserver",
        instead: "upstream's program, of 1.36.3 instead of 1.29.2",
        make: |kitchen| {
            Ok((
                vec![kitchen.program("sample-apiserver", "sample-apiserver")?],
                settings(&["/sample-apiserver"], &[]),
            ))
        },
    },
    Recipe {
        repository: "etcd",
        instead: "upstream's program, without its shell and older versions",
        make: |kitchen| {
            Ok((
                vec![kitchen.program("etcd", "usr/local/bin/etcd")?],
                settings(&[], &["etcd"]),
            ))
        },
    },
    Recipe {
        repository: "pause",
        instead: "Coracle's own pause",
        make: |_| {
            let image = Image::pause("")?;
            Ok((image.layers, image.settings))
        },
    },
];

/// For each repository, what its image is made of.
pub(crate) fn stand_ins() -> Vec<(&'static str, &'static str)> {
    RECIPES
        .iter()
        .map(|recipe| (recipe.repository, recipe.instead))
        .collect()
}

/// The images, under every name that `listed` has for them.
///
/// # Errors
/// When the list lacks an image that specs are known to run, or a source is missing.
pub(crate) fn images(listed: &str, sources: &Sources<'_>) -> Result<Vec<Image>> {
    let kitchen = Kitchen::new(sources)?;
    let mut images = Vec::new();
    for recipe in RECIPES {
        let names = names(listed, recipe.repository);
        ensure!(
            !names.is_empty(),
            "the suite asks for no {} any more",
            recipe.repository
        );
        let (layers, settings) = (recipe.make)(&kitchen).with_context(|| recipe.repository.to_owned())?;
        images.push(Image {
            names,
            layers,
            settings,
        });
    }
    Ok(images)
}

/// The names in a list, one a line, that a repository's image has.
fn names(listed: &str, repository: &str) -> Vec<String> {
    let start = format!("{REGISTRY}{repository}:");
    let mut names: Vec<_> = listed
        .split_whitespace()
        .filter(|name| name.starts_with(&start))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

fn settings(entrypoint: &[&str], arguments: &[&str]) -> Settings {
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    Settings {
        environment: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        entrypoint: owned(entrypoint),
        arguments: owned(arguments),
        user: String::new(),
    }
}

/// Users and groups as agnhost has them upstream, and those of Debian's nginx.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    www-data:x:33:33:www-data:/var/www:/bin/false\n\
    user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n\
    nobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\nuser-defined-in-image:x:1000:\n\
    group-defined-in-image:x:50000:user-defined-in-image\nnogroup:x:65534:\n";

/// What images of pages say they are; upstream's say Alpine's own, and a spec looks into the file.
const STANDS_IN: &str = "NAME=Coracle\nPRETTY_NAME=\"Debian in the place of Alpine Linux\"\nID=coracle\n";

/// Serves the folder of Debian's nginx in the foreground, and tells what it does to whom reads the container's log.
const NGINX: &str = "user www-data;\nworker_processes 1;\npid /run/nginx.pid;\nerror_log /dev/stderr;\n\
    events {}\n\
    http {\n  include mime.types;\n  access_log /dev/stdout;\n\
    \x20 server {\n    listen 80 default_server;\n    root /usr/share/nginx/html;\n  }\n}\n";

/// What several images share, made once.
struct Kitchen<'a> {
    sources: &'a Sources<'a>,
    /// A shell and busybox.
    base: Packed,
    /// What network tests call.
    tools: Packed,
}

impl<'a> Kitchen<'a> {
    fn new(sources: &'a Sources<'a>) -> Result<Self> {
        let base = base(sources)?;
        let tools = sources.shelf.unpack(&[
            "bind9-dnsutils",
            "curl",
            "iperf",
            "iproute2",
            "libc-bin",
            "netcat-openbsd",
            "util-linux",
        ])?;
        let mut tools = tools.link("usr/bin/nc", "nc.openbsd");
        tools.subtract(&base);
        Ok(Self {
            sources,
            base: base.pack()?,
            tools: tools.pack()?,
        })
    }

    /// One of the suite's programs, alone.
    fn program(&self, name: &str, path: &str) -> Result<Packed> {
        let layer = Layer::default()
            .folder("tmp", 0o1777)
            .file(path, 0o755, self.read_program(name)?);
        Ok(layer.pack()?)
    }

    fn read_program(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.sources.programs.join(name);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn read_source(&self, path: &str) -> Result<Vec<u8>> {
        let path = self.sources.kubernetes.join("test/images").join(path);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// agnhost with more files, which does `argument` where a pod does not say otherwise.
    fn agnhost(&self, more: Layer, argument: &str) -> Result<Dish> {
        let own = Layer::default()
            .file("agnhost", 0o755, self.read_program("agnhost")?)
            .link("agnhost-2", "agnhost")
            .file(
                "localhost.crt",
                0o644,
                self.read_source("agnhost/porter/localhost.crt")?,
            )
            .file(
                "localhost.key",
                0o644,
                self.read_source("agnhost/porter/localhost.key")?,
            )
            .folder("uploads", 0o755);
        let layers = vec![self.base.clone(), self.tools.clone(), own.pack()?, more.pack()?];
        Ok((layers, settings(&["/agnhost"], &[argument])))
    }

    /// The page of one of the images that kubectl's tests roll out.
    fn page(&self, name: &str) -> Result<Layer> {
        let mut layer = Layer::default().file("etc/os-release", 0o644, STANDS_IN);
        for file in [format!("{name}.jpg"), "data.json".to_owned()] {
            layer = layer.file(&file, 0o644, self.read_source(&format!("{name}/html/{file}"))?);
        }
        Ok(layer)
    }

    fn nginx(&self) -> Result<Dish> {
        let files = self.sources.shelf.unpack(&["nginx", "nginx-common"])?;
        let files = files
            .file("etc/nginx/nginx.conf", 0o644, NGINX)
            .folder("var/lib/nginx", 0o755)
            .folder("var/log/nginx", 0o755);
        let layers = vec![self.base.clone(), files.pack()?];
        Ok((layers, settings(&[], &["nginx", "-g", "daemon off;"])))
    }

    fn nonewprivs(&self) -> Result<Dish> {
        let own = Layer::default().file("usr/local/bin/nnp", 0o6755, self.read_program("nonewprivs")?);
        Ok((vec![self.base.clone(), own.pack()?], settings(&[], &["nnp"])))
    }
}

/// A small Debian: a shell, and busybox under the names of all that it can be.
fn base(sources: &Sources<'_>) -> Result<Layer> {
    let busybox = busybox::program(sources.shelf.folder())?;
    let files = sources.shelf.unpack(&["bash"])?;
    let mut layer = files
        .folder("root", 0o700)
        .folder("tmp", 0o1777)
        .folder("var/tmp", 0o1777)
        .folder("run", 0o755)
        .folder("home/user-defined-in-image", 0o755)
        .file("etc/passwd", 0o644, PASSWD)
        .file("etc/group", 0o644, GROUP)
        .file(
            "etc/nsswitch.conf",
            0o644,
            "passwd: files\ngroup: files\nhosts: files dns\n",
        )
        .file("usr/bin/busybox", 0o755, busybox.clone());
    for name in applets(&busybox)? {
        let path = format!("usr/bin/{name}");
        if layer.get(&path).is_none() {
            layer = layer.link(&path, "busybox");
        }
    }
    Ok(layer)
}

/// All that busybox can be, as it tells itself.
fn applets(program: &[u8]) -> Result<BTreeSet<String>> {
    let folder = tempfile::tempdir().context("a folder for busybox")?;
    let path = folder.path().join("busybox");
    fs::write(&path, program).context("busybox")?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).context("busybox")?;
    let output = Command::new(&path)
        .arg("--list")
        .output()
        .context("cannot run busybox")?;
    let listed = String::from_utf8(output.stdout).context("names of programs are text")?;
    let names: BTreeSet<_> = listed.split_whitespace().map(str::to_owned).collect();
    ensure!(names.contains("ls"), "busybox lists no programs");
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_goes_by_every_tag_that_the_suite_has_for_it() {
        let listed = "registry.k8s.io/e2e-test-images/nginx:2\nregistry.k8s.io/e2e-test-images/nginx-plus:1\n\
            registry.k8s.io/e2e-test-images/nginx:1\nregistry.k8s.io/e2e-test-images/nginx:1\nexample.org/nginx:3\n";
        let expected = [
            "registry.k8s.io/e2e-test-images/nginx:1",
            "registry.k8s.io/e2e-test-images/nginx:2",
        ];
        assert_eq!(names(listed, "e2e-test-images/nginx"), expected);
    }

    #[test]
    fn every_recipe_says_what_is_in_it() {
        assert!(
            stand_ins()
                .iter()
                .all(|(name, instead)| !name.is_empty() && !instead.is_empty())
        );
    }
}
