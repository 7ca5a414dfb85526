"""A question in words becomes SQL for a real SQLite file; what the database complains of goes back until it runs."""

import re
import sqlite3
from contextlib import closing
from difflib import get_close_matches

from pocketflow import Flow, Node

BOOKS = [
    ("The Salt Road", "Ines Vale", 1200),
    ("Low Water", "Ines Vale", 950),
    ("A Hundred Gates", "Tom Arkwright", 1800),
    ("The Ninth Wren", "Mia Osei", 700),
]


def call_llm(prompt):
    """Stand in for a model, which this is not: write SQL from memory, then mend its names one by one."""
    wrong = re.search(r"Error: no such (?:table|column): (\w+)", prompt)
    if wrong is None:
        return "SELECT authors, SUM(pence) FROM book GROUP BY authors ORDER BY SUM(pence) DESC LIMIT 1"
    schema, query = re.search(r"Schema: (.*)\nQuery: (.*)", prompt).groups()
    (right,) = get_close_matches(wrong.group(1), re.findall(r"\w+", schema), n=1)
    return re.sub(rf"\b{wrong.group(1)}\b", right, query)


class GetSchema(Node):
    def prep(self, shared):
        return shared["db_path"]

    def exec(self, db_path):
        with closing(sqlite3.connect(db_path)) as db:
            return " ".join(sql for (sql,) in db.execute("SELECT sql FROM sqlite_master"))

    def post(self, shared, db_path, schema):
        shared["schema"] = schema


class GenerateSQL(Node):
    def prep(self, shared):
        return shared["question"], shared["schema"]

    def exec(self, inputs):
        question, schema = inputs
        return call_llm(f"Schema: {schema}\nQuestion: {question}")

    def post(self, shared, prep_res, query):
        shared["queries"].append(query)


class ExecuteSQL(Node):
    def prep(self, shared):
        return shared["db_path"], shared["queries"][-1]

    def exec(self, inputs):
        db_path, query = inputs
        with closing(sqlite3.connect(db_path)) as db:
            try:
                return db.execute(query).fetchall(), None
            except sqlite3.Error as exc:
                return None, str(exc)

    def post(self, shared, prep_res, exec_res):
        shared["rows"], shared["error"] = exec_res
        if shared["error"] and len(shared["queries"]) < shared["most_queries"]:
            return "debug"


class DebugSQL(Node):
    def prep(self, shared):
        return shared["schema"], shared["queries"][-1], shared["error"]

    def exec(self, inputs):
        schema, query, error = inputs
        return call_llm(f"Schema: {schema}\nQuery: {query}\nError: {error}")

    def post(self, shared, prep_res, query):
        shared["queries"].append(query)


def make_flow():
    schema, generate, execute, debug = GetSchema(), GenerateSQL(), ExecuteSQL(), DebugSQL()
    schema >> generate >> execute
    execute - "debug" >> debug
    debug >> execute
    return Flow(start=schema)


def make_shared(folder):
    db_path = folder / "shop.db"
    with closing(sqlite3.connect(db_path)) as db:
        db.execute("CREATE TABLE books (title TEXT, author TEXT, price_pence INTEGER)")
        db.executemany("INSERT INTO books VALUES (?, ?, ?)", BOOKS)
        db.commit()
    return {"db_path": db_path, "question": "Whose books cost most in all?", "queries": [], "most_queries": 5}


def answer(shared):
    return shared["rows"], shared["queries"][-1]
