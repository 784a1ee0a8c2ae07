"use strict";
console.log("looking for the database");
if (process.env.DATABASE_URL === undefined) throw new Error("DATABASE_URL is not set");
