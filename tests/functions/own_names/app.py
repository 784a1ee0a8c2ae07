import bus
import dispatcher
import forklight
import numpy
import sandbox
import triggers


def handler(event):
    return [module.NAME for module in (bus, sandbox, triggers, dispatcher, forklight, numpy)]
