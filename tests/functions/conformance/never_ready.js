"use strict";
for (;;);
