// Both ends of the WebSocket measurement: an app that sends every frame back, and clients with one message each on its way.
//
//   websocket echo PORT
//   websocket load PORT SOCKETS SIZE SECONDS TOKEN AGENT
//
// One thread each, epoll. The handshake always has the key of RFC 6455's example, so the answer to it is known. Prints one line
// of JSON; a message is counted when it came back whole.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct end { int fd, open; int64_t since; size_t have; char in[8192]; };

static int epoll;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static struct end *watched(int fd) {
    struct end *e = calloc(1, sizeof *e);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    e->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = e};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    return e;
}

static ssize_t take(struct end *e) {
    ssize_t got = read(e->fd, e->in + e->have, sizeof e->in - 1 - e->have);
    if (got > 0) e->have += got, e->in[e->have] = 0;
    return got;
}

static void send_all(struct end *e, const void *bytes, size_t length) {
    if (write(e->fd, bytes, length) != (ssize_t)length) fail("write");
}

// The length of the first frame in the buffer, 0 while it is not whole; frames up to 64 KiB.
static size_t frame(struct end *e, size_t *head, size_t *payload, int *masked) {
    if (e->have < 2) return 0;
    uint8_t *b = (uint8_t *)e->in;
    *head = 2, *payload = b[1] & 0x7f, *masked = b[1] >> 7;
    if (*payload == 126) {
        if (e->have < 4) return 0;
        *payload = b[2] << 8 | b[3], *head = 4;
    }
    size_t whole = *head + (*masked ? 4 : 0) + *payload;
    return e->have < whole ? 0 : whole;
}

static size_t write_head(uint8_t *to, size_t payload, int masked) {
    to[0] = 0x82;
    if (payload < 126) return to[1] = masked << 7 | payload, 2;
    to[1] = masked << 7 | 126, to[2] = payload >> 8, to[3] = payload;
    return 4;
}

static void drop(struct end *e) {
    close(e->fd);
    free(e);
}

static void echo_one(struct end *e) {
    ssize_t got = take(e);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) { drop(e); return; }
    if (!e->open) {
        char *end = strstr(e->in, "\r\n\r\n");
        if (!end) return;
        if (!strcasestr(e->in, "\r\nsec-websocket-key: " KEY) || !strcasestr(e->in, "\r\nupgrade: websocket")) {
            static const char no[] = "HTTP/1.1 400 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            send_all(e, no, sizeof no - 1);
            drop(e);
            return;
        }
        static const char yes[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Accept: " ACCEPT "\r\n\r\n";
        send_all(e, yes, sizeof yes - 1);
        e->open = 1, e->have = 0;
        return;
    }
    size_t head, payload, whole;
    int masked;
    while ((whole = frame(e, &head, &payload, &masked))) {
        if ((e->in[0] & 0x0f) == 8) { drop(e); return; }
        uint8_t out[8192], *mask = (uint8_t *)e->in + head, *body = mask + (masked ? 4 : 0);
        size_t start = write_head(out, payload, 0);
        for (size_t i = 0; i < payload; i++) out[start + i] = body[i] ^ (masked ? mask[i % 4] : 0);
        send_all(e, out, start + payload);
        memmove(e->in, e->in + whole, e->have -= whole);
    }
}

static void echo(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) fail("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = 0}, events[64];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr) echo_one(events[i].data.ptr);
            else watched(accept(listener, 0, 0));
        }
    }
}

static void open_socket(struct end *e, int port, const char *token, const char *agent) {
    char ask[2048];
    int length = snprintf(ask, sizeof ask,
        "GET /socket HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: %s\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n", port, agent, token);
    send_all(e, ask, length);
    while (!strstr(e->in, "\r\n\r\n")) {
        ssize_t got = take(e);
        if (got == 0) fail("closed in the handshake");
        usleep(100);
    }
    if (strncmp(e->in, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "no WebSocket: %s\n", e->in);
        exit(1);
    }
    e->have = 0;
}

static int order(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int load(int port, int sockets, size_t size, double seconds, const char *token, const char *agent) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint8_t message[8192];
    size_t start = write_head(message, size, 1);
    memcpy(message + start, "\x1f\x2e\x3d\x4c", 4);
    for (size_t i = 0; i < size; i++) message[start + 4 + i] = 'x' ^ message[start + i % 4];
    size_t sent_length = start + 4 + size, count = 0, room = 1 << 20;
    uint32_t *latencies = malloc(room * sizeof *latencies);
    struct end **all = calloc(sockets, sizeof *all);
    for (int i = 0; i < sockets; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (void *)&to, sizeof to)) fail("connect");
        all[i] = watched(fd);
        open_socket(all[i], port, token, agent);
    }
    int64_t began = now_ns(), until = began + (int64_t)(seconds * 1e9), ended = began;
    for (int i = 0; i < sockets; i++) all[i]->since = now_ns(), send_all(all[i], message, sent_length);
    struct epoll_event events[64];
    for (int under_way = sockets; under_way;) {
        int ready = epoll_wait(epoll, events, 64, 5000);
        if (ready <= 0) fail("no answer for 5 s");
        for (int i = 0; i < ready; i++) {
            struct end *e = events[i].data.ptr;
            ssize_t got = take(e);
            if (got == 0 || (got < 0 && errno != EAGAIN)) fail("a socket was closed");
            size_t head, payload, whole;
            int masked;
            if (!(whole = frame(e, &head, &payload, &masked))) continue;
            if (payload != size || e->in[head] != 'x' || whole != e->have) fail("another message came back");
            ended = now_ns(), e->have = 0;
            if (count == room) latencies = realloc(latencies, (room *= 2) * sizeof *latencies);
            latencies[count++] = (ended - e->since) / 1000;
            if (ended >= until) { under_way--; continue; }
            e->since = ended;
            send_all(e, message, sent_length);
        }
    }
    qsort(latencies, count, sizeof *latencies, order);
    printf("{\"round_trips\": %zu, \"micros\": %ld, \"p50\": %u, \"p99\": %u}\n", count, (long)((ended - began) / 1000),
           latencies[count / 2], latencies[(size_t)(count * 0.99)]);
    return 0;
}

int main(int count, char **args) {
    epoll = epoll_create1(0);
    if (count == 3 && !strcmp(args[1], "echo")) echo(atoi(args[2]));
    if (count == 8 && !strcmp(args[1], "load"))
        return load(atoi(args[2]), atoi(args[3]), atoi(args[4]), atof(args[5]), args[6], args[7]);
    fprintf(stderr, "see the head of websocket.c\n");
    return 2;
}
