// Keeps a server that has no option for it on loopback: what it binds to all addresses, it binds to 127.0.0.1 or ::1.
// Built by install.sh, used as LD_PRELOAD; child processes inherit it. Java needs -Djava.net.preferIPv4Stack=true.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int bind(int socket, const struct sockaddr *address, socklen_t length) {
  int (*next)(int, const struct sockaddr *, socklen_t);
  // POSIX: what dlsym finds may be a function, which ISO C would not let us assign.
  *(void **)&next = dlsym(RTLD_NEXT, "bind");

  struct sockaddr_storage copy;
  if (address == NULL || length > sizeof copy) return next(socket, address, length);
  memcpy(&copy, address, length);

  struct sockaddr_in *v4 = (struct sockaddr_in *)&copy;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&copy;
  if (copy.ss_family == AF_INET && v4->sin_addr.s_addr == htonl(INADDR_ANY)) {
    v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else if (copy.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr)) {
    v6->sin6_addr = in6addr_loopback;
  }
  return next(socket, (struct sockaddr *)&copy, length);
}
