//! From the target to the endpoint: what each program needs for it, all of them at the same time.
//!
//! `remote --scraped FILE --peers DIR --scratch DIR [--targets N] [--interval SECONDS] [--windows N] [--seconds N]
//! [--gzip 1] [--programs "scraped vmagent"]` serves the targets and the endpoint itself, starts the programs on their
//! default queue settings, waits until they run evenly, and then reads their counters at the ends of windows. A row has
//! the median of the windows, and in brackets the least and the most. All programs see the same noise: ratios are
//! taken window by window.

use std::io::{BufReader, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scraped_bench::http::read_head;
use scraped_bench::node_page::NodePage;
use scraped_bench::programs::{PROGRAMS, Program, Running, Setup};
use scraped_bench::receiver::{Counts, Receiver};

const STACK_BYTES: usize = 128 * 1024;

/// The denominator of the ratios.
const REFERENCE: &str = "vmagent";

struct Args {
    setup: Setup,
    n_targets: usize,
    interval_s: u64,
    n_windows: usize,
    window: Duration,
    gzip: bool,
    programs: Vec<Program>,
}

#[derive(Clone, Copy)]
struct Reading {
    cpu: Duration,
    disk_bytes: u64,
    counts: Counts,
}

/// One window of one program.
struct Window {
    cpu_s_a_million: f64,
    wire: f64,
    disk: f64,
    samples: u64,
    requests: u64,
    resident_mib: f64,
}

fn main() {
    let targets = TcpListener::bind(("0.0.0.0", 0)).expect("a port");
    let receiving = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let mut args = args(receiving.local_addr().expect("an address").port());
    args.setup.scrape_config =
        scrape_config(args.n_targets, args.interval_s, targets.local_addr().expect("an address").port());
    let receiver = Receiver::default();
    let receives = receiver.clone();
    std::thread::spawn(move || receives.serve(receiving));
    let gzip = args.gzip;
    std::thread::spawn(move || serve_targets(&targets, gzip));

    let page = NodePage::new();
    println!(
        "{} hosts x {} samples every {} s, pages {}; {} windows of {} s",
        args.n_targets,
        page.n_samples(),
        args.interval_s,
        if gzip { "packed with gzip for who asks" } else { "not packed" },
        args.n_windows,
        args.window.as_secs()
    );
    let mut running = Vec::new();
    for program in &args.programs {
        if program.file(&args.setup).exists() {
            println!("  {:<15} {}", program.name, program.about);
            running.push(program.start(&args.setup).expect("it can be started"));
        } else {
            println!("  {:<15} not measured: scripts/peers has not fetched it", program.name);
        }
    }
    std::thread::sleep(Duration::from_secs(args.interval_s * 2 + 10));
    let mut windows: Vec<Vec<Window>> = running.iter().map(|_| Vec::new()).collect();
    let mut before: Vec<Reading> = running.iter().map(|it| read(it, &receiver)).collect();
    for _ in 0..args.n_windows {
        std::thread::sleep(args.window);
        for ((program, before), windows) in running.iter().zip(&mut before).zip(&mut windows) {
            let now = read(program, &receiver);
            windows.push(window(before, &now, program.resident_bytes()));
            *before = now;
        }
    }
    report(&mut running, &windows, &before);
}

fn read(program: &Running, receiver: &Receiver) -> Reading {
    Reading {
        cpu: program.cpu(),
        disk_bytes: program.disk_bytes(),
        counts: receiver.counts(&program.program.write_path()),
    }
}

fn window(before: &Reading, now: &Reading, resident_bytes: u64) -> Window {
    let samples = now.counts.samples - before.counts.samples;
    let a_sample = |bytes: u64| bytes as f64 / samples as f64;
    Window {
        cpu_s_a_million: (now.cpu - before.cpu).as_secs_f64() / samples as f64 * 1e6,
        wire: a_sample(now.counts.body_bytes - before.counts.body_bytes),
        disk: a_sample(now.disk_bytes.saturating_sub(before.disk_bytes)),
        samples,
        requests: now.counts.requests - before.counts.requests,
        resident_mib: resident_bytes as f64 / (1 << 20) as f64,
    }
}

fn report(running: &mut [Running], windows: &[Vec<Window>], last: &[Reading]) {
    println!(
        "\n{:<15} {:>24} {:>20} {:>9} {:>20} {:>22} {:>9} {:>14}",
        "",
        "CPU-s a million",
        "of vmagent's",
        "MiB",
        "wire bytes/sample",
        "disk bytes/sample",
        "samples",
        "samples/request"
    );
    let reference = running.iter().position(|it| it.program.name == REFERENCE);
    for (idx, program) in running.iter_mut().enumerate() {
        if !program.is_alive() {
            println!("{} ended:\n{}", program.program.name, program.log());
            continue;
        }
        let own = &windows[idx];
        let cpu = own.iter().map(|it| it.cpu_s_a_million);
        let ratios = reference.map(|at| {
            own.iter().zip(&windows[at]).map(|(own, it)| own.cpu_s_a_million / it.cpu_s_a_million).collect()
        });
        let n_samples: u64 = own.iter().map(|it| it.samples).sum();
        let n_requests: u64 = own.iter().map(|it| it.requests).sum();
        println!(
            "{:<15} {:>24} {:>20} {:>9.1} {:>20} {:>22} {:>9} {:>14.0}",
            program.program.name,
            spread(cpu.collect()),
            ratios.map_or("-".to_owned(), spread),
            median(own.iter().map(|it| it.resident_mib).collect()).0,
            spread(own.iter().map(|it| it.wire).collect()),
            spread(own.iter().map(|it| it.disk).collect()),
            n_samples,
            n_samples as f64 / n_requests as f64,
        );
        let counts = &last[idx].counts;
        println!(
            "{:<15}   message {:.1} bytes a sample before compression, heads {:.2}; {} of {} requests zstd, {} 2.0",
            "",
            counts.message_bytes as f64 / counts.samples as f64,
            counts.head_bytes as f64 / counts.samples as f64,
            counts.zstd_requests,
            counts.requests,
            counts.v2_requests
        );
    }
}

fn spread(values: Vec<f64>) -> String {
    let (median, least, most) = median(values);
    format!("{median:.2} [{least:.2} {most:.2}]")
}

fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |idx: usize| values.get(idx).copied().unwrap_or(f64::NAN);
    (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

fn args(receiver_port: u16) -> Args {
    let mut args = Args {
        setup: Setup {
            scratch: PathBuf::new(),
            scraped: PathBuf::new(),
            peers: PathBuf::new(),
            scrape_config: String::new(),
            receiver_port,
        },
        n_targets: 20,
        interval_s: 5,
        n_windows: 5,
        window: Duration::from_secs(30),
        gzip: false,
        programs: PROGRAMS.to_vec(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{name} needs a value"));
        let number = || value.parse::<u64>().unwrap_or_else(|_| panic!("{name} takes a number"));
        match name.as_str() {
            "--scraped" => args.setup.scraped = value.into(),
            "--peers" => args.setup.peers = value.into(),
            "--scratch" => args.setup.scratch = value.into(),
            "--targets" => args.n_targets = number() as usize,
            "--interval" => args.interval_s = number(),
            "--windows" => args.n_windows = number() as usize,
            "--seconds" => args.window = Duration::from_secs(number()),
            "--gzip" => args.gzip = number() > 0,
            "--programs" => {
                let known = |name: &str| PROGRAMS.iter().find(|it| it.name == name).copied();
                let named = |name| known(name).unwrap_or_else(|| panic!("there is no program {name}"));
                args.programs = value.split_whitespace().map(named).collect();
            }
            _ => panic!("what is {name}?"),
        }
    }
    args
}

fn scrape_config(n_targets: usize, interval_s: u64, port: u16) -> String {
    // One address of 127.0.0.0/8 a host, so that each has a connection of its own.
    let addresses: Vec<String> =
        (0..n_targets).map(|idx| format!("'127.2.{}.{}:{port}'", idx / 250, idx % 250 + 1)).collect();
    format!(
        "global:\n  scrape_interval: {interval_s}s\n  scrape_timeout: {}s\nscrape_configs:\n  - job_name: node\n    \
         static_configs:\n      - targets: [{}]\n",
        interval_s.min(10),
        addresses.join(", ")
    )
}

fn serve_targets(listener: &TcpListener, gzip: bool) {
    let page = NodePage::new();
    for stream in listener.incoming().flatten() {
        let page = page.clone();
        let serve = move || drop(serve_target(stream, &page, gzip));
        if std::thread::Builder::new().stack_size(STACK_BYTES).spawn(serve).is_err() {
            eprintln!("no thread for a connection");
        }
    }
}

fn serve_target(mut stream: TcpStream, page: &NodePage, gzip: bool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let IpAddr::V4(address) = stream.local_addr()?.ip() else { return Ok(()) };
    let host = u64::from(u32::from(address));
    let mut requests = BufReader::with_capacity(1024, stream.try_clone()?);
    let started = Instant::now();
    let started_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() % 1e6;
    while let Some(head) = read_head(&mut requests)? {
        let mut body = String::new();
        page.render(host, started_s + started.elapsed().as_secs_f64(), &mut body);
        let mut body = body.into_bytes();
        let mut encoding = "";
        if gzip && head.takes_gzip {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            packed.write_all(&body)?;
            body = packed.finish()?;
            encoding = "Content-Encoding: gzip\r\n";
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n{encoding}\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut response = head.into_bytes();
        response.append(&mut body);
        stream.write_all(&response)?;
    }
    Ok(())
}
