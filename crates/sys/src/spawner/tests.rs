use super::*;

/// No test may hang for longer, in seconds.
const PATIENCE: u32 = 60;

fn spawner() -> OwnedFd {
    Spawner::start_in_thread(vec![c"PATH=/usr/bin:/bin".into(), c"MARK=42".into()]).unwrap()
}

fn order(socket: &OwnedFd, order: CommandRequest<'_>) {
    send(socket, &order.to_bytes().unwrap(), SendFlags::NOSIGNAL).unwrap();
}

fn run(socket: &OwnedFd, id: u64, line: &str) {
    order(
        socket,
        CommandRequest::Run {
            id,
            pings: false,
            shows_errors: false,
            line: line.as_bytes(),
        },
    );
}

fn next(socket: &OwnedFd) -> CommandEnd {
    let mut bytes = [0; CommandEnd::BYTES];
    for _ in 0..PATIENCE {
        match recv(socket, &mut bytes, RecvFlags::empty()) {
            Ok((count, _)) => return CommandEnd::read(&bytes[..count]).unwrap(),
            Err(Errno::AGAIN) => {
                let mut watched = [PollFd::new(socket, PollFlags::IN)];
                let second = rustix::time::Timespec {
                    tv_sec: 1,
                    tv_nsec: 0,
                };
                poll(&mut watched, Some(&second)).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("nothing was said");
}

/// The exit status of `line`.
fn status(line: &str) -> Option<i32> {
    let socket = spawner();
    run(&socket, 7, line);
    let ended = next(&socket);
    assert_eq!(ended.id, 7);
    let status = ended.status.unwrap();
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
}

#[test]
fn commands_run_side_by_side_and_their_ends_are_told() {
    let socket = spawner();
    run(&socket, 1, "sleep 1000");
    run(&socket, 2, "exit 3");
    let ended = next(&socket);
    assert_eq!((ended.id, ended.status), (2, Some(3 << 8)));
    order(&socket, CommandRequest::Terminate(1));
    let ended = next(&socket);
    assert_eq!((ended.id, ended.status), (1, Some(libc::SIGTERM)));
    // Of those that have ended, nothing is there to end.
    order(&socket, CommandRequest::Kill(1));
    run(&socket, 3, "true");
    assert_eq!(next(&socket).id, 3);
}

/// The order may come before the command has a group of its own.
#[test]
fn one_is_ended_however_soon_the_order_comes() {
    let socket = spawner();
    for id in 0..300 {
        run(&socket, id, "sleep 1000");
        order(&socket, CommandRequest::Terminate(id));
        let ended = next(&socket);
        assert_eq!((ended.id, ended.status), (id, Some(libc::SIGTERM)));
    }
}

#[test]
fn one_that_does_not_listen_is_killed_with_all_that_it_started() {
    let socket = spawner();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let line = format!(
        "exec 3>{}; trap '' TERM; sleep 1000 & sleep 1000",
        pipe.display()
    );
    run(&socket, 1, &line);
    // Opened once the command has opened it; at its end once all have closed it.
    let mut reader = std::fs::File::open(&pipe).unwrap();
    order(&socket, CommandRequest::Kill(1));
    assert_eq!(next(&socket).status, Some(libc::SIGKILL));
    std::io::Read::read_to_end(&mut reader, &mut Vec::new()).unwrap();
}

#[test]
fn all_ends_when_the_other_end_is_closed() {
    let socket = spawner();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    run(
        &socket,
        1,
        &format!("exec 3>{}; trap '' TERM; sleep 1000", pipe.display()),
    );
    let mut reader = std::fs::File::open(&pipe).unwrap();
    drop(socket);
    std::io::Read::read_to_end(&mut reader, &mut Vec::new()).unwrap();
}

#[test]
fn nothing_of_the_server_is_passed_on() {
    let _secret = std::fs::File::open("/dev/null").unwrap();
    for line in [
        // No variable but those given; the shell adds its own.
        "test \"$(env | grep -cvE '^(PATH|MARK|PWD|OLDPWD|SHLVL|_)=')\" = 0 && test $MARK = 42",
        // The folder's own descriptor is the fourth.
        "test \"$(ls /proc/self/fd | tr '\\n' ' ')\" = '0 1 2 3 '",
        "test \"$(readlink /proc/self/fd/0 /proc/self/fd/2 | sort -u)\" = /dev/null",
        "test \"$(cut -d' ' -f6 /proc/$$/stat)\" = $$",
        "grep -q '^NoNewPrivs:.1' /proc/self/status",
        "test \"$(grep -cE '^Cap(Inh|Prm|Eff|Amb):.0+$' /proc/self/status)\" = 4",
        // The C library uses signals 32 and 33 itself; its posix_spawn(3) makes the program that runs this test ignore
        // them.
        "grep -q '^SigBlk:.0*$' /proc/self/status && grep -qE '^SigIgn:.0{7}[01][08]0{7}$' /proc/self/status",
        "test $(ulimit -c) = 0 && test $(ulimit -n) -le 1024",
        "test \"$(pwd)\" = / && test $(umask) = 0077",
    ] {
        assert_eq!(status(line), Some(0), "{line}");
    }
}

#[test]
fn what_cannot_be_a_command_line_is_refused() {
    for line in [&vec![b'x'; 128 * 1024][..], b"a\0b"] {
        let order = CommandRequest::Run {
            id: 1,
            pings: false,
            shows_errors: false,
            line,
        };
        assert_eq!(order.to_bytes(), Err(BadCommandLine));
    }
    // The longest one arrives.
    let line = format!("exit 5 #{}", "x".repeat(128 * 1024 - 9));
    assert_eq!(status(&line), Some(5));
}

#[test]
fn a_program_of_several_threads_is_not_split() {
    let config = SpawnerConfig {
        separation: None,
        environment: Vec::new(),
    };
    let error = Spawner::start(&config).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}
