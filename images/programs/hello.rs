//! The program of the example image: a small web server, and the few commands that one wants at hand in a container
//! without a shell.
//!
//! Standard library only: `images/build.rs` compiles this file with plain `rustc` into a static program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: hello serve | get URL | resolve NAME | env | cat FILE | append FILE WORDS | echo WORDS | sleep SECONDS | fail [CODE]";
const TIMEOUT: Duration = Duration::from_secs(5);

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(code: i32) -> !;
}

const SIGTERM: i32 = 15;

/// Ends at once: the first process of a container has no default for the signal that asks it to.
extern "C" fn end(_: i32) {
    // SAFETY: _exit may be called in a signal handler (signal-safety(7)).
    unsafe { _exit(0) }
}

fn main() -> ExitCode {
    // SAFETY: the handler calls nothing but _exit.
    unsafe { signal(SIGTERM, end) };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["serve"] => serve(),
        ["get", url] => get(url),
        ["resolve", name] => resolve(name),
        ["env"] => {
            std::env::vars().for_each(|(name, value)| println!("{name}={value}"));
            Ok(())
        }
        ["cat", file] => cat(file),
        ["append", file, words @ ..] => append(file, &words.join(" ")),
        ["cat"] => std::io::copy(&mut std::io::stdin(), &mut std::io::stdout()).map(drop),
        ["echo", words @ ..] => {
            println!("{}", words.join(" "));
            Ok(())
        }
        ["sleep", seconds] => seconds.parse().map_err(std::io::Error::other).map(|s| std::thread::sleep(Duration::from_secs(s))),
        ["fail", rest @ ..] => return ExitCode::from(rest.first().and_then(|code| code.parse().ok()).unwrap_or(1)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hello: {error}");
            ExitCode::FAILURE
        }
    }
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Serves the page on `PORT` (8080), each connection on a thread of its own, until the process is killed.
fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", setting("PORT", "8080").parse().map_err(std::io::Error::other)?))?;
    println!("hello {} listens on {}", version(), listener.local_addr()?);
    for connection in listener.incoming() {
        let connection = connection?;
        std::thread::spawn(move || {
            if let Err(error) = answer(connection) {
                eprintln!("hello: {error}");
            }
        });
    }
    Ok(())
}

fn version() -> String {
    setting("HELLO_VERSION", "1")
}

fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_read_timeout(Some(TIMEOUT))?;
    let mut reader = BufReader::new(connection.try_clone()?.take(16 << 10));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or("/");
    let (status, body) = match path {
        "/" => ("200 OK", page()),
        "/clientip" => ("200 OK", format!("{}\n", connection.peer_addr()?.ip())),
        "/healthz" => ("200 OK", "ok\n".to_owned()),
        _ => ("404 Not Found", "not found\n".to_owned()),
    };
    if path != "/healthz" {
        println!("{} {}", path, status);
    }
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn page() -> String {
    format!(
        "{}\nversion {}, pod {} on {}\n",
        setting("GREETING", "Hello from Coracle!"),
        version(),
        setting("POD_NAME", "unknown"),
        setting("NODE_NAME", "unknown"),
    )
}

/// Prints the body of an http URL; fails when the answer is not 200.
fn get(url: &str) -> std::io::Result<()> {
    let rest = url.strip_prefix("http://").ok_or_else(|| std::io::Error::other("only http:// URLs"))?;
    let (authority, path) = rest.split_once('/').map_or((rest, String::new()), |(a, p)| (a, p.to_owned()));
    let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let target = address.to_socket_addrs()?.next().ok_or_else(|| std::io::Error::other("no address"))?;
    let mut connection = TcpStream::connect_timeout(&target, TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    write!(connection, "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    connection.take(1 << 20).read_to_string(&mut response)?;
    let (head, body) = response.split_once("\r\n\r\n").ok_or_else(|| std::io::Error::other("no HTTP answer"))?;
    print!("{body}");
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(std::io::Error::other(head.lines().next().unwrap_or_default().to_owned())),
    }
}

/// Prints the addresses of a name, one a line, found along the search list of resolv.conf.
fn resolve(name: &str) -> std::io::Result<()> {
    for address in (name, 0).to_socket_addrs()? {
        println!("{}", address.ip());
    }
    Ok(())
}

/// Adds a line to a file, which is made where it is missing.
fn append(file: &str, line: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()
}

fn cat(file: &str) -> std::io::Result<()> {
    std::io::copy(&mut std::fs::File::open(file)?, &mut std::io::stdout()).map(drop)
}
