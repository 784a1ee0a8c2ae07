"use strict";
class NoSuchOrder extends Error {}
throw new NoSuchOrder("cannot begin");
