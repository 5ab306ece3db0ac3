// A load of GET requests over HTTP/1.1 with a token each, where wrk does not do: at a fixed rate, with each token used once, with
// tokens that nobody knows, or from another address. One thread, epoll.
//
//   http_load PORT SOURCE CONNECTIONS SECONDS RATE TOKENS AGENT
//
// SOURCE is the address to come from. RATE is requests/s, 0 as fast as answers come. TOKENS: "cycle:FILE" goes through the
// lines over and over, "once:FILE" ends after the last, "random:" makes up a new unknown one for every request.
// At a fixed rate the latency counts from the moment a request was due, so that a stall is not hidden by requests that were
// never sent. Prints one line of JSON.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

struct connection { int fd, busy, used; int64_t since; long missing; size_t have; char in[16384]; };

static int port, epoll, once, made_up;
static const char *source, *agent;
static char **tokens, out[4096];
static size_t token_count, next_token;
static uint32_t *latencies;
static size_t samples, room;
static long by_class[6], limited, broken, reconnected;
static uint64_t dice[2] = {0x9E3779B97F4A7C15u, 0xD1B54A32D192ED03u};

static void fail(const char *format, ...) {
    va_list given;
    va_start(given, format);
    vfprintf(stderr, format, given);
    fputc('\n', stderr);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static uint64_t roll(void) { // xorshift128+
    uint64_t a = dice[0], b = dice[1];
    dice[0] = b;
    a ^= a << 23;
    dice[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
    return dice[1] + b;
}

static const char *token(void) {
    static char text[44];
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if (!made_up) {
        const char *taken = tokens[next_token];
        if (++next_token == token_count && !once) next_token = 0;
        return taken;
    }
    for (int i = 0; i < 42; i++) text[i] = letters[roll() >> 58];
    text[42] = 'A'; // the last letter of 32 bytes has two bits that are zero
    return text;
}

static void open_one(struct connection *c) {
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, source, &from.sin_addr);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    int on = 1;
    setsockopt(c->fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &on, sizeof on);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(c->fd, (void *)&from, sizeof from) || connect(c->fd, (void *)&to, sizeof to)) fail("connect: %m");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
    c->busy = 0, c->have = 0, c->missing = -1, c->used = 0;
}

static void again(struct connection *c) {
    close(c->fd);
    reconnected++;
    open_one(c);
}

static void ask(struct connection *c, int64_t since) {
    int length = snprintf(out, sizeof out,
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: %s\r\nAuthorization: Bearer %s\r\n\r\n", port, agent, token());
    c->busy = 1, c->since = since, c->have = 0, c->missing = -1;
    if (write(c->fd, out, length) != length) { // the server closed it while it was at rest
        again(c);
        c->busy = 1, c->since = since;
        if (write(c->fd, out, length) != length) fail("write: %m");
    }
}

// Reads what is there; 1 when the answer is whole.
static int hear(struct connection *c) {
    ssize_t got = read(c->fd, c->in + c->have, sizeof c->in - 1 - c->have);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) {
        if (c->busy) broken++;
        again(c);
        return 1;
    }
    if (c->missing > 0) {
        c->missing -= got;
    } else {
        c->have += got;
        c->in[c->have] = 0;
        char *end = strstr(c->in, "\r\n\r\n");
        if (!end) return 0;
        char *length = strcasestr(c->in, "\r\ncontent-length:");
        if (!length || length > end) fail("an answer without a length: %.300s", c->in);
        c->missing = strtol(length + 17, 0, 10) - (long)(c->in + c->have - end - 4);
        int status = atoi(c->in + 9);
        by_class[status / 100 % 6]++;
        limited += status == 429;
        char *closing = strcasestr(c->in, "\r\nconnection: close");
        c->used = closing && closing < end;
    }
    if (c->missing > 0) { c->have = 0; return 0; }
    if (samples == room) latencies = realloc(latencies, (room = room ? room * 2 : 1 << 20) * sizeof *latencies);
    latencies[samples++] = (now_ns() - c->since) / 1000;
    c->busy = 0;
    if (c->used) again(c);
    return 1;
}

static int order(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void read_tokens(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) fail("%s: %m", path);
    char line[512];
    for (size_t space = 0; fgets(line, sizeof line, file);) {
        line[strcspn(line, "\n")] = 0;
        if (token_count == space) tokens = realloc(tokens, (space = space ? space * 2 : 4096) * sizeof *tokens);
        tokens[token_count++] = strdup(line);
    }
    fclose(file);
    if (!token_count) fail("%s is empty", path);
}

int main(int count, char **args) {
    if (count != 8) fail("see the head of http_load.c");
    port = atoi(args[1]), source = args[2], agent = args[7];
    int connections = atoi(args[3]);
    double rate = atof(args[5]);
    int64_t length = atof(args[4]) * 1e9;
    once = !strncmp(args[6], "once:", 5), made_up = !strncmp(args[6], "random:", 7);
    if (!made_up) read_tokens(strchr(args[6], ':') + 1);
    dice[0] ^= now_ns(), dice[1] ^= (uint64_t)getpid() << 32;
    prctl(PR_SET_TIMERSLACK, 1);
    epoll = epoll_create1(0);
    struct connection *all = calloc(connections, sizeof *all), **rest = calloc(connections, sizeof *rest);
    for (int i = 0; i < connections; i++) open_one(&all[i]), rest[i] = &all[i];
    int resting = connections, waiting = 0; // `rest` is a ring: who waits longest is next
    int first = 0;
    int64_t began = now_ns(), sent = 0, ended = began;
    struct epoll_event events[256];
    for (;;) {
        int64_t now = now_ns();
        int over = now - began >= length || (once && next_token == token_count);
        if (over && resting == connections) break;
        if (now - began >= length + 15000000000LL) { broken += connections - resting; break; }
        int64_t due = over ? 0 : rate ? (int64_t)((now - began) / 1e9 * rate) + 1 : INT64_MAX;
        while (resting && sent < due && !(once && next_token == token_count)) {
            struct connection *c = rest[first];
            first = (first + 1) % connections, resting--;
            ask(c, rate ? began + (int64_t)(sent / rate * 1e9) : now_ns());
            sent++;
        }
        int64_t wait = 100000000;
        if (rate && !over && resting) {
            wait = began + (int64_t)(sent / rate * 1e9) - now_ns();
            if (wait < 0) wait = 0;
        }
        struct timespec patience = {wait / 1000000000, wait % 1000000000};
        waiting = epoll_pwait2(epoll, events, 256, &patience, 0);
        for (int i = 0; i < waiting; i++) {
            struct connection *c = events[i].data.ptr;
            int asked = c->busy;
            if (hear(c) && asked) c->busy = 0, rest[(first + resting++) % connections] = c, ended = now_ns();
        }
    }
    qsort(latencies, samples, sizeof *latencies, order);
#define AT(part) (samples ? latencies[(size_t)((samples - 1) * (part))] : 0)
    printf("{\"requests\": %zu, \"micros\": %ld, \"p50\": %u, \"p99\": %u, \"p999\": %u, \"max\": %u, "
           "\"ok\": %ld, \"refused\": %ld, \"limited\": %ld, \"failed\": %ld, \"broken\": %ld, \"reconnected\": %ld}\n",
           samples, (long)((ended - began) / 1000), AT(0.5), AT(0.99), AT(0.999), AT(1.0), by_class[2], by_class[4], limited,
           by_class[0] + by_class[1] + by_class[3] + by_class[5], broken, reconnected);
    return 0;
}
