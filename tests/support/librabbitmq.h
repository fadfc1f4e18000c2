/* librabbitmq.h - its header under the name this machine knows, for tests that compare with it. */
#ifndef SUPPORT_LIBRABBITMQ_H
#define SUPPORT_LIBRABBITMQ_H

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#endif

#endif
