/* Holds a network namespace, and hands its listening sockets to whoever connects to /gate/socket.
 *
 * scripts/pause makes pause-x86_64 and pause-aarch64 of it, without a C library. pause.py says what for.
 */
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define COUNT 4
#define BACKLOG 64

/* In the order of pause.PORTS: proxy, plain web, TLS, names. */
static const struct {
    int type;
    in_port_t port;
} WAYS[COUNT] = {{SOCK_STREAM, 3128}, {SOCK_STREAM, 80}, {SOCK_STREAM, 443}, {SOCK_DGRAM, 53}};
static const struct sockaddr_un DOOR = {AF_UNIX, "/gate/socket"};

static long call(long number, long first, const void *second, long third) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(first), "S"(second), "d"(third)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = first;
    register const void *x1 __asm__("x1") = second;
    register long x2 __asm__("x2") = third;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#endif
}

/* Compilers call it to clear a structure, and expect it of every environment. */
void *memset(void *at, int value, size_t size) {
    for (volatile char *byte = at; size; size--) *byte++ = (char)value;
    return at;
}

/* The result of a call without which there is no going on. */
static int must(long result) {
    if (result < 0)
        for (;;) call(SYS_exit, 1, 0, 0);
    return (int)result;
}

static int listener(int family, int type, const void *address, long size) {
    int file = must(call(SYS_socket, family, (void *)(long)type, 0));
    must(call(SYS_bind, file, address, size));
    if (type == SOCK_STREAM) must(call(SYS_listen, file, (void *)BACKLOG, 0));
    return file;
}

void _start(void) {
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(COUNT * sizeof(int))];
    } control;
    /* One byte has to be sent along with the files; any will do. */
    struct iovec byte = {(void *)&DOOR, 1};
    struct msghdr message = {
        .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    control.head.cmsg_len = CMSG_LEN(COUNT * sizeof(int));
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;

    /* The node, whoever runs it, may connect. */
    call(SYS_umask, 0, 0, 0);
    for (int at = 0; at < COUNT; at++) {
        struct sockaddr_in address = {AF_INET, htons(WAYS[at].port), {htonl(INADDR_LOOPBACK)}, {0}};
        ((int *)CMSG_DATA(&control.head))[at] = listener(AF_INET, WAYS[at].type, &address, sizeof address);
    }
    int door = listener(AF_UNIX, SOCK_STREAM, &DOOR, sizeof DOOR);
    for (;;) {
        int visitor = must(call(SYS_accept, door, 0, 0));
        /* A visitor that leaves too early is no reason to end. */
        call(SYS_sendmsg, visitor, &message, MSG_NOSIGNAL);
        call(SYS_close, visitor, 0, 0);
    }
}
