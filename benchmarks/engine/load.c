/* Load for a TCP proxy, and the servers behind it. Everything on 127.0.0.1; results are one line of JSON. Messages and
   chunks are WebSocket frames, behind a handshake, so that a proxy that looks at frames finds some.

   load echo                            serve: accept a handshake, send back what comes
   load source                          serve: send 64 KiB chunks to whoever connects
       Both print their port, and serve until standard input ends.
   load pingpong PORT CONNECTIONS S [T] 128 bytes there and back, on each connection one after another, for S seconds;
                                        they begin within T seconds, evenly
   load drain PORT S                    read what a source sends, for S seconds
   load connect PORT PARALLEL S         open, one byte there and back, close; so many at a time, for S seconds
   load idle PORT CONNECTIONS           open them, one byte there and back on each, print a line, hold them until
                                        standard input ends */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 128, CHUNK = 64 * 1024, EVENTS = 256, SAMPLES = 1 << 22, FILES = 65536, LISTENER = -1, CONTROL = -2 };

static const char HELLO[] = "GET / HTTP/1.1\r\nHost: load\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";
static const char WELCOME[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n";

static char message[MESSAGE] = {(char)0x82, (char)(0x80 | (MESSAGE - 6))}; /* binary, masked with zeros */
static char chunk[CHUNK] = {(char)0x82, 127, 0, 0, 0, 0, 0, 0, (char)((CHUNK - 10) >> 8), (char)((CHUNK - 10) & 0xFF)};
static int sent_of_chunk[FILES];
static char buffer[256 * 1024];
static double samples[SAMPLES];

static void check(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static struct sockaddr_in at(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int dial(int port) {
    struct sockaddr_in address = at(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(fd >= 0, "socket");
    no_delay(fd);
    check(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    return fd;
}

static void add(int poll, int fd, uint32_t events, int data) {
    struct epoll_event event = {.events = events, .data.fd = data};
    check(epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

/* --- the servers --- */

static int serve_echo(int fd) {
    ssize_t size = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (size < 0 && errno == EAGAIN)
        return 1;
    if (size <= 0)
        return 0;
    if (size == sizeof HELLO - 1)
        return send(fd, WELCOME, sizeof WELCOME - 1, MSG_NOSIGNAL) > 0;
    for (ssize_t sent = 0; sent < size;) {
        ssize_t part = send(fd, buffer + sent, size - sent, MSG_NOSIGNAL);
        if (part <= 0)
            return 0;
        sent += part;
    }
    return 1;
}

static int serve_source(int fd) {
    int *before = &sent_of_chunk[fd];
    ssize_t sent = send(fd, chunk + *before, CHUNK - *before, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0)
        *before = (*before + sent) % CHUNK;
    return sent > 0 || errno == EAGAIN;
}

static void serve(int (*ready)(int), uint32_t events) {
    struct sockaddr_in address = at(0);
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
    check(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    check(listen(listener, 4096) == 0, "listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    add(poll, listener, EPOLLIN, LISTENER);
    add(poll, 0, EPOLLIN, CONTROL);
    for (;;) {
        struct epoll_event found[EVENTS];
        int count = epoll_wait(poll, found, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = found[i].data.fd;
            if (fd == CONTROL)
                return;
            if (fd == LISTENER) {
                while ((fd = accept4(listener, NULL, NULL, 0)) >= 0) {
                    no_delay(fd);
                    sent_of_chunk[fd] = 0;
                    if (events == EPOLLOUT)
                        send(fd, WELCOME, sizeof WELCOME - 1, MSG_NOSIGNAL);
                    add(poll, fd, events, fd);
                }
            } else if (!ready(fd)) {
                close(fd);
            }
        }
    }
}

/* --- the load --- */

static void shake_hands(int fd) {
    check(send(fd, HELLO, sizeof HELLO - 1, MSG_NOSIGNAL) > 0, "send");
    check(recv(fd, buffer, sizeof WELCOME - 1, MSG_WAITALL) == sizeof WELCOME - 1, "handshake");
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(double seconds, long count) {
    long kept = count < SAMPLES ? count : SAMPLES;
    check(kept > 0, "nothing came back");
    qsort(samples, kept, sizeof *samples, by_size);
    printf("{\"per_second\": %.1f, \"count\": %ld, \"min_us\": %.1f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f}\n",
           count / seconds, count, samples[0] * 1e6, samples[kept / 2] * 1e6, samples[kept * 9 / 10] * 1e6,
           samples[kept * 99 / 100] * 1e6);
}

static void sample(long *count, double took) {
    samples[*count % SAMPLES] = took;
    ++*count;
}

static void pause_for(double seconds) {
    struct timespec left = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&left, NULL);
}

static void pingpong(int port, int connections, double seconds, double within) {
    int poll = epoll_create1(0), *fds = calloc(connections, sizeof *fds), *left = calloc(FILES, sizeof *left);
    double *sent_at = calloc(FILES, sizeof *sent_at);
    for (int i = 0; i < connections; i++) {
        fds[i] = dial(port);
        shake_hands(fds[i]);
        add(poll, fds[i], EPOLLIN, fds[i]);
    }
    for (int i = 0; i < connections; i++) {
        left[fds[i]] = MESSAGE;
        check(send(fds[i], message, MESSAGE, MSG_NOSIGNAL) == MESSAGE, "send");
        if (within > 0)
            pause_for(within / connections);
    }
    double start = now(), end = start + seconds, at = start;
    long count = 0;
    while (at < end) {
        struct epoll_event found[EVENTS];
        int ready = epoll_wait(poll, found, EVENTS, 5000);
        check(ready > 0, "nothing came back");
        for (int i = 0; i < ready; i++) {
            int fd = found[i].data.fd;
            ssize_t size = recv(fd, buffer, MESSAGE, 0);
            check(size > 0, "recv");
            at = now();
            if ((left[fd] -= size) > 0)
                continue;
            if (sent_at[fd] > 0) /* the first of each only sets the pace */
                sample(&count, at - sent_at[fd]);
            sent_at[fd] = at;
            left[fd] = MESSAGE;
            check(send(fd, message, MESSAGE, MSG_NOSIGNAL) == MESSAGE, "send");
        }
    }
    report(at - start, count);
}

static void drain(int port, double seconds) {
    int fd = dial(port);
    check(recv(fd, buffer, sizeof buffer, 0) > 0, "first bytes");
    double start = now(), at = start, total = 0;
    while (at < start + seconds) {
        ssize_t size = recv(fd, buffer, sizeof buffer, 0);
        check(size > 0, "recv");
        total += size;
        at = now();
    }
    printf("{\"megabytes_per_second\": %.1f}\n", total / (at - start) / 1e6);
}

static void open_and_ask(int poll, int port, double *since) {
    struct sockaddr_in address = at(port);
    double start = now();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    check(fd >= 0, "socket");
    no_delay(fd);
    check(connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS, "connect");
    since[fd] = start;
    add(poll, fd, EPOLLOUT, fd);
}

static void connections(int port, int parallel, double seconds) {
    int poll = epoll_create1(0);
    double *since = calloc(FILES, sizeof *since), start = now(), at = start;
    long count = 0;
    for (int i = 0; i < parallel; i++)
        open_and_ask(poll, port, since);
    while (at < start + seconds) {
        struct epoll_event found[EVENTS];
        int ready = epoll_wait(poll, found, EVENTS, 5000);
        check(ready > 0, "nothing came back");
        for (int i = 0; i < ready; i++) {
            int fd = found[i].data.fd;
            if (found[i].events & EPOLLOUT) {
                struct epoll_event answer = {.events = EPOLLIN, .data.fd = fd};
                check(send(fd, buffer, 1, MSG_NOSIGNAL) == 1, "send");
                epoll_ctl(poll, EPOLL_CTL_MOD, fd, &answer);
                continue;
            }
            check(recv(fd, buffer, 1, 0) == 1, "recv");
            close(fd);
            at = now();
            sample(&count, at - since[fd]);
            open_and_ask(poll, port, since);
        }
    }
    report(at - start, count);
}

static void idle(int port, int connections) {
    for (int i = 0; i < connections; i++) {
        int fd = dial(port);
        check(send(fd, buffer, 1, MSG_NOSIGNAL) == 1 && recv(fd, buffer, 1, 0) == 1, "echo");
    }
    printf("{\"open\": %d}\n", connections);
    fflush(stdout);
    while (read(0, buffer, sizeof buffer) > 0)
        continue;
}

int main(int count, char **words) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < FILES ? files.rlim_max : FILES;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    const char *mode = count > 1 ? words[1] : "";
    int port = count > 2 ? atoi(words[2]) : 0;
    if (!strcmp(mode, "echo"))
        serve(serve_echo, EPOLLIN);
    else if (!strcmp(mode, "source"))
        serve(serve_source, EPOLLOUT);
    else if (!strcmp(mode, "pingpong") && (count == 5 || count == 6))
        pingpong(port, atoi(words[3]), atof(words[4]), count == 6 ? atof(words[5]) : 0);
    else if (!strcmp(mode, "drain") && count == 4)
        drain(port, atof(words[3]));
    else if (!strcmp(mode, "connect") && count == 5)
        connections(port, atoi(words[3]), atof(words[4]));
    else if (!strcmp(mode, "idle") && count == 4)
        idle(port, atoi(words[3]));
    else {
        fprintf(stderr, "load: see the head of load.c\n");
        return 2;
    }
    return 0;
}
